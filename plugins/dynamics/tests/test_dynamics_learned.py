"""Learned Hamiltonians and Lagrangians keep the true energy better than plain networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sfm_dynamics.model.networks import Mechanical
from sfm_dynamics.simulators.lagrangian import LearnedLagrangian
from sfm_dynamics.simulators.mechanics import DoublePendulum

from sfm.errors import InputError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "seed"), [("mass-spring", 0), ("two-body", 1), ("double-pendulum", 2)]
)
def test_energy_is_kept_a_hundred_times_better(monkeypatch, system, seed):
    """The energy's error below a plain network's; of the double pendulum its drift.

    `recipes/learned_mechanics.py` does it for every system with every seed.
    """
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    from learned_mechanics import measured

    measures = measured(system, seed)
    assert (
        measures["drift_ratio"] if system == "double-pendulum" else measures["ratios"][-1]
    ) > 100


def test_the_lagrangian_road_is_the_hamiltonian_one():
    """The double pendulum in angles and velocities, by M dv/dt = f, against its Hamiltonian."""
    sim, _ = LearnedLagrangian.conformance_case(dt=0.02, method="rk4")
    x = torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    other = DoublePendulum(dt=0.02, method="rk4").requires_grad_(False)
    with torch.no_grad():
        end = sim(sim.at(x), 100)
        hamiltonian_end = other(other.at(x), 100)
        torch.testing.assert_close(end.values[:2], hamiltonian_end.values[:2], rtol=0, atol=1e-6)
        energy = sim.observe(end)["hamiltonian"]
    torch.testing.assert_close(
        energy, other.observe(hamiltonian_end)["hamiltonian"], rtol=1e-6, atol=0
    )


def test_the_mass_matrix_is_positive_and_its_slopes_are_right():
    network = Mechanical(2, 8, periodic=True)
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hessian = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(network)))(x)[:, 2:, 2:]
    assert float(torch.linalg.eigvalsh(hessian.detach()).min()) >= 0.01 - 1e-12
    turned = x + 2 * torch.pi * torch.tensor([1, -1, 0, 0])
    torch.testing.assert_close(network(turned), network(x))
    sim = LearnedLagrangian(closure=network, dt=0.05)
    start = sim.at(x[0])
    (slope,) = torch.autograd.grad(sim(start, 2).values.sum(), network.potential[0].bias)
    step = torch.zeros(8, dtype=torch.float64)
    step[3] = 1e-5

    def end(sign: int) -> float:
        with torch.no_grad():
            network.potential[0].bias += sign * step
            value = float(sim(start, 2).values.sum())
            network.potential[0].bias -= sign * step
        return value

    assert float(slope[3]) == pytest.approx((end(1) - end(-1)) / 2e-5, rel=1e-5)


def test_without_a_closure_it_says_so():
    sim = LearnedLagrangian()
    with pytest.raises(InputError, match="needs a closure"):
        sim(sim.state())
