"""Friction, driving and control as closures of Hamiltonian and Lagrangian systems."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_dynamics.discovery.sindy import explain
from sfm_dynamics.model.networks import Rates
from sfm_dynamics.model.trajectories import learn_trajectories
from sfm_dynamics.simulators.lagrangian import LearnedLagrangian, TwoPendulums
from sfm_dynamics.simulators.learned import LearnedHamiltonian
from sfm_dynamics.simulators.mechanics import DoublePendulum, MassSpring, Pendulum
from sfm_dynamics.simulators.open_system import Constant, OpenSystem
from torch import nn

from sfm.errors import InputError


def damped(c: float) -> OpenSystem:
    return OpenSystem(friction=Constant(torch.tensor([math.sqrt(c)], dtype=torch.float64)))


def test_friction_is_that_of_the_damped_oscillator():
    """x = e^(-ct/2) (cos wt + c / 2w sin wt), w^2 = 1 - c^2 / 4."""
    c = 0.3
    sim = MassSpring(closure=damped(c), method="rk5", dt=0.05)
    run = sim.run(sim.state(), 200, every=1)
    w, t = math.sqrt(1 - c**2 / 4), run.times
    exact = torch.exp(-c * t / 2) * (torch.cos(w * t) + c / (2 * w) * torch.sin(w * t))
    torch.testing.assert_close(run.observables["state"][:, 0].detach(), exact, rtol=0, atol=1e-8)
    assert float(run.observables["hamiltonian"].detach().diff().max()) <= 0
    (slope,) = torch.autograd.grad(sim(sim.state(), 20).values[0], sim.closure.friction.values)
    ends = []
    for root in (math.sqrt(c) + 1e-5, math.sqrt(c) - 1e-5):
        other = MassSpring(closure=damped(root**2), method="rk5", dt=0.05)
        ends.append(float(other(other.state(), 20).values[0].detach()))
    assert float(slope) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


class _SwingUp(nn.Module):
    """u = k p (H_top - H): lifts a pendulum to its upright point.

    K. J. Astrom, K. Furuta, Automatica 36, 287 (2000), doi:10.1016/S0005-1098(99)00140-5.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, p = x.chunk(2, -1)
        return 0.5 * p * (1 - (0.5 * p**2 - torch.cos(q)))


def test_control_lifts_a_pendulum():
    """From an angle of 0.1 the energy rises to that of the upright pendulum, and stays there."""
    sim = Pendulum(closure=OpenSystem(force=_SwingUp()), method="rk4", dt=0.05)
    with torch.no_grad():
        run = sim.run(sim.at(torch.tensor([[0.1, 0.0], [2.0, 1.0]])), 1200, every=20)
    energy = run.observables["hamiltonian"]
    assert float(energy[0].max()) < 1.95
    bare = sim.total()(sim.at(torch.tensor([math.pi, 0.0])).values)
    torch.testing.assert_close(energy[-1], bare.expand(2), rtol=0, atol=1e-3)


def test_a_learned_friction_is_written_down():
    """A pendulum of known energy, friction -0.2 p not known: 0.2 % noise, four runs, within 2 %."""
    true = Pendulum(closure=damped(0.2), method="rk4", dt=0.1).requires_grad_(False)
    starts = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.5, -1.5], [-2.5, 0.5]])
    run = true.run(true.at(starts), 60, every=1)
    clean = run.observables["state"]
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(clean.shape))
    seen = clean + 0.002 * clean.std() * noise

    class Force(nn.Module):
        """What is not known, a perceptron of angle and momentum."""

        def __init__(self) -> None:
            super().__init__()
            self.network = Rates(2, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x)[..., :1]

    sim = Pendulum(closure=OpenSystem(force=Force()), method="rk4", dt=0.1)
    for name in ("gravity", "length", "mass"):
        getattr(sim, name).requires_grad_(False)
    smooth = learn_trajectories(sim, run.times, seen, iterations=100).reshape(-1, 2)
    with torch.no_grad():
        force = sim.closure.force(smooth)
    law = explain(
        torch.cat((torch.zeros_like(force), force), -1).numpy(),
        smooth.numpy(),
        ("q", "p"),
        ensemble=0,
    )
    assert law.coefficient("p", "p") == pytest.approx(-0.2, rel=0.02)
    assert np.count_nonzero(law.coefficients) == 1


def test_friction_is_the_same_by_the_lagrangian_road():
    """The double pendulum with friction at both joints: -c v, M dv/dt = ... against dp/dt."""
    friction = Constant(torch.tensor([0.4, 0.2], dtype=torch.float64))
    lagrangian = OpenSystem(TwoPendulums(), friction=friction)
    sim = LearnedLagrangian(closure=lagrangian, dt=0.02, method="rk4").requires_grad_(False)
    closure = OpenSystem(friction=friction)
    other = DoublePendulum(closure=closure, dt=0.02, method="rk4").requires_grad_(False)
    x = torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    with torch.no_grad():
        end, hamiltonian_end = sim(sim.at(x), 200), other(other.at(x), 200)
        first, last = (sim.observe(s)["hamiltonian"] for s in (sim.at(x), end))
    torch.testing.assert_close(end.values[:2], hamiltonian_end.values[:2], rtol=0, atol=1e-6)
    assert float(last) < float(first) - 0.1


def test_implicit_steps_take_friction_and_kicks_refuse_it():
    sim = MassSpring(closure=damped(0.3), method="gauss4", dt=0.1).requires_grad_(False)
    fine = MassSpring(closure=damped(0.3), method="rk5", dt=0.01).requires_grad_(False)
    end, reference = sim(sim.state(), 20), fine(fine.state(), 200)
    torch.testing.assert_close(end.values, reference.values, rtol=0, atol=1e-6)
    kicked = MassSpring(closure=damped(0.3))
    with pytest.raises(InputError, match=r"leapfrog knows no friction.*implicit-midpoint"):
        kicked(kicked.state())
    for kind in (LearnedHamiltonian, LearnedLagrangian):
        bare = kind(closure=damped(0.3), method="rk4")
        with pytest.raises(InputError, match="needs a closure that says the"):
            bare(bare.state())
