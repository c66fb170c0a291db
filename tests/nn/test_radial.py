"""Radial functions: smooth at the cutoff, orthonormal inside."""

from __future__ import annotations

import torch

from sfm.nn.radial import bessel, envelope


def test_the_envelope_has_two_vanishing_derivatives_at_the_cutoff():
    x = torch.tensor([1 - 1e-12], dtype=torch.float64, requires_grad=True)
    value = envelope(x)
    (first,) = torch.autograd.grad(value, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert abs(value.item()) < 1e-12
    assert abs(first.item()) < 1e-10
    assert abs(second.item()) < 1e-8
    assert envelope(torch.tensor([1.0, 1.5])).tolist() == [0.0, 0.0]
    assert envelope(torch.zeros(1)).item() == 1.0


def test_bessel_functions_are_orthonormal_without_the_envelope():
    x = torch.linspace(1e-6, 1, 20_001, dtype=torch.float64)
    basis = bessel(x, 4) / envelope(x).clamp_min(1e-300).unsqueeze(1)
    basis[envelope(x) < 1e-12] = 0.0
    overlap = torch.einsum("ri,rj,r->ij", basis, basis, x**2) * (x[1] - x[0])
    torch.testing.assert_close(overlap, torch.eye(4, dtype=torch.float64), rtol=0, atol=2e-3)


def test_gradients():
    x = torch.tensor([0.2, 0.7, 0.99], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: bessel(t, 5), (x,))
    assert torch.autograd.gradgradcheck(lambda t: bessel(t, 5), (x,))
