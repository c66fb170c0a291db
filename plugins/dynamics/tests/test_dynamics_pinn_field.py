"""Physics-informed networks of partial equations: hard conditions, subdomains, Burgers' front."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_dynamics.pinn.field import FieldPinn, train_field

from sfm.errors import InputError

VISCOSITY = 0.05


def start(x: torch.Tensor) -> torch.Tensor:
    return -torch.sin(math.pi * x)


def burgers(u: torch.Tensor, slope: torch.Tensor, bend: torch.Tensor) -> torch.Tensor:
    return VISCOSITY * bend - u * slope


def exact(t: float, x: np.ndarray) -> np.ndarray:
    """Cole and Hopf's integral by Gauss and Hermite's quadrature.

    C. Basdevant et al., Comput. Fluids 14, 23 (1986), doi:10.1016/0045-7930(86)90036-8.
    """
    nodes, weights = np.polynomial.hermite.hermgauss(80)
    places = x[:, None] - np.sqrt(4 * VISCOSITY * t) * nodes
    f = weights * np.exp(-np.cos(np.pi * places) / (2 * np.pi * VISCOSITY))
    return -(np.sin(np.pi * places) * f).sum(1) / f.sum(1)


def test_start_and_ends_hold_and_derivatives_are_those_of_the_network():
    def bent(x: torch.Tensor) -> torch.Tensor:
        return x**3 + 0.5

    network = FieldPinn(bent, 2.0, (-1.0, 2.0), width=8, domains=3, seed=1).requires_grad_(False)
    x = torch.linspace(-1, 2, 13, dtype=torch.float64)
    assert torch.equal(network.at(torch.zeros_like(x), x), bent(x))
    times = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    for end in (-1.0, 2.0):
        held = network.at(times, torch.full_like(times, end))
        torch.testing.assert_close(held, torch.full_like(times, end**3 + 0.5), rtol=0, atol=1e-14)
    t, s = torch.full((3, 2), 0.7).double(), torch.tensor([[0.2, 0.7]] * 3).double()
    jet, h = network(t, s), 1e-4
    ahead, behind = network(t, s + h).u, network(t, s - h).u  # subdomains are as wide as 1
    torch.testing.assert_close(jet.x, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(jet.xx, (ahead - 2 * jet.u + behind) / h**2, rtol=1e-5, atol=1e-5)
    later = (network(t + h, s).u - network(t - h, s).u) / (2 * h)
    torch.testing.assert_close(jet.t, later, rtol=1e-6, atol=1e-7)


def test_a_steepening_front_in_three_subdomains():
    """Burgers' equation to t = 1 within 1.5 % of the exact solution, and no jumps."""
    network = FieldPinn(start, 1.0, (-1.0, 1.0), width=12, domains=3)
    options = {"points": (10, 10), "rounds": 2, "iterations": 15, "causality": 1.0}
    train_field(network, burgers, **options)
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    with torch.no_grad():
        for t in (0.25, 0.5, 1.0):
            u, true = network.at(torch.full_like(x, t), x).numpy(), exact(t, x.numpy())
            assert np.linalg.norm(u - true) < 0.015 * np.linalg.norm(true), t
        ends = torch.tensor([0.0, 1.0]).double().expand(3, -1)
        jet = network(torch.full_like(ends, 0.6), ends)
    assert float((jet.u[:-1, 1] - jet.u[1:, 0]).abs().max()) < 0.01
    assert float((jet.x[:-1, 1] - jet.x[1:, 0]).abs().max()) < 0.05


def test_a_viscosity_from_scattered_values():
    """0.05 from 60 values, begun at 0.2, within 2 %."""
    rng = np.random.default_rng(0)
    times, x = rng.uniform(0.1, 1, 60), rng.uniform(-0.95, 0.95, 60)
    values = np.array([exact(t, np.array([p]))[0] for t, p in zip(times, x, strict=True)])
    data = tuple(torch.from_numpy(a) for a in (times, x, values))
    viscosity = torch.tensor(math.log(0.2), dtype=torch.float64, requires_grad=True)
    network = FieldPinn(start, 1.0, (-1.0, 1.0), width=12, domains=2)
    train_field(
        network,
        lambda u, slope, bend: viscosity.exp() * bend - u * slope,
        points=(8, 12),
        rounds=1,
        iterations=25,
        data=data,
        parameters=[viscosity],
    )
    assert float(viscosity.detach().exp()) == pytest.approx(VISCOSITY, rel=0.02)


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="ends in order"):
        FieldPinn(start, 1.0, (1.0, -1.0))
    with pytest.raises(InputError, match="domains=0"):
        FieldPinn(start, 1.0, (-1.0, 1.0), domains=0)
