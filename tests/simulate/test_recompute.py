"""Recomputed pieces: derivatives of every order, and a graph that keeps the inputs alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from sfm.simulate.recompute import recomputed


def slope(x: Tensor, a: Tensor, unused: Tensor) -> Tensor:
    """A derivative itself: d/dx of sum(sin(a x) x^2)."""
    with torch.enable_grad():
        y = x if x.requires_grad else x.detach().requires_grad_()
        energy = ((a * y).sin() * y.square()).sum()
        (derivative,) = torch.autograd.grad(energy, y, create_graph=torch.is_grad_enabled())
    return derivative


def test_first_second_and_third_derivatives():
    x = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    a = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    unused = torch.ones(2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, a: recomputed(slope, x, a, unused), (x, a))
    assert gradgradcheck(lambda x, a: recomputed(slope, x, a, unused), (x, a))
    thirds = []
    for way in (recomputed, lambda function, *inputs: function(*inputs)):
        value = way(slope, x, a, unused).sum()
        for _ in range(3):
            (by,) = torch.autograd.grad(value, a, create_graph=True)
            value = by.sum()
        thirds.append(value.detach())
    torch.testing.assert_close(*thirds)


def test_the_graph_keeps_the_inputs_alone():
    kept: list[Tensor] = []
    x = torch.ones(50, requires_grad=True)

    def long(x: Tensor) -> Tensor:
        for _ in range(20):
            x = (x * x).sin()
        return x

    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        recomputed(long, x)
        assert len(kept) == 1
        long(x)
    assert len(kept) > 20
