"""Fixed points and deep equilibrium layers."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import brentq
from sfm_dynamics.simulators.equilibrium import Equilibrium, EquilibriumLayer, fixed_point
from torch import nn


def test_x_equals_cos_x_with_gradient():
    """Dottie's number to 1e-10; dx/da = cos x / (1 + a sin x) by the implicit function theorem."""
    sim = Equilibrium()
    end = sim(sim.state())
    x = end.values
    dottie = brentq(lambda y: math.cos(y) - y, 0, 1, xtol=1e-15)
    assert float(x.detach()) == pytest.approx(dottie, abs=1e-12)
    assert dottie == pytest.approx(0.739085133215161, abs=1e-14)
    by_amplitude, by_shift = torch.autograd.grad(x.sum(), (sim.amplitude, sim.shift))
    assert float(by_amplitude) == pytest.approx(dottie / (1 + math.sin(dottie)), abs=1e-10)
    assert float(by_shift) == pytest.approx(1 / (1 + math.sin(dottie)), abs=1e-10)
    assert sim.converged(end)


def test_too_few_iterations_are_said():
    sim = Equilibrium(amplitude=30.0, iterations=3).requires_grad_(False)
    end = sim(sim.state())
    assert not sim.converged(end)
    assert "raise iterations" in sim.warnings(end)[0]


def test_acceleration_needs_few_evaluations():
    """Plain iteration of cos gains 0.17 digits a step: 60 evaluations to 1e-10."""
    calls = []

    def g(x):
        calls.append(1)
        return torch.cos(x)

    with torch.no_grad():
        fixed_point(g, torch.ones(4, 1, dtype=torch.float64), tolerance=1e-12)
    assert len(calls) < 12


class Cell(nn.Module):
    """tanh(W x + U u + b), contracting."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recurrent, self.other = nn.Linear(5, 5).double(), nn.Linear(2, 5).double()
        with torch.no_grad():
            self.recurrent.weight *= 0.7

    def forward(self, x, u):
        return torch.tanh(self.recurrent(x) + self.other(u))


def test_a_layer_has_the_gradients_of_its_solution():
    layer = EquilibriumLayer(Cell(), 5, tolerance=1e-13)
    u = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = layer(u)
    torch.testing.assert_close(layer.cell(x, u), x, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(layer, (u.requires_grad_(),), atol=1e-6)
    many = torch.zeros(3, 5, dtype=torch.float64)
    for _ in range(200):  # the same gradient through 200 plain iterations
        many = layer.cell(many, u)
    weight = layer.cell.recurrent.weight
    (unrolled,) = torch.autograd.grad(many.square().sum(), weight)
    (implicit,) = torch.autograd.grad(layer(u).square().sum(), weight)
    torch.testing.assert_close(implicit, unrolled, rtol=1e-8, atol=1e-10)
