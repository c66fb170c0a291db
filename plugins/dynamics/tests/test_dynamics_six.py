"""Springs that swing, balls that bounce, bodies at coordinates, and recurrent networks."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from scipy.optimize import brentq
from sfm_dynamics.model.coordinates import EARTH, MASS, PLACEMENTS, STAR, BodyPotential
from sfm_dynamics.model.recurrent import Separable, leapfrog, learn_runs
from sfm_dynamics.simulators.contact import BouncingBall
from sfm_dynamics.simulators.mechanics import MassSpring, Pendulum, SpringPendulum
from sfm_dynamics.simulators.open_system import Constant, OpenSystem
from torch import nn

import sfm


def test_a_pendulum_on_a_spring_that_does_not_swing():
    """Along the vertical it is a mass on a spring: y = y0 + a cos(sqrt(k / m) t)."""
    sim = SpringPendulum(stiffness=5.0, mass=2.0, gravity=1.5, length=0.7, dt=0.01)
    middle = -(0.7 + 2.0 * 1.5 / 5.0)
    start = sim.at(torch.tensor([0.0, middle + 0.3, 0.0, 0.0], dtype=torch.float64))
    with torch.no_grad():
        x, y = sim(start, 300).values[:2].tolist()
    assert x == 0
    assert y == pytest.approx(middle + 0.3 * math.cos(math.sqrt(2.5) * 3.0), abs=1e-4)


@pytest.mark.parametrize("stiffness", [200.0, 5000.0])
def test_what_a_bounce_leaves(stiffness):
    """Without gravity u - ln(1 + b u) / b is the same before and after, b = 3/2 c, for any floor.

    That is Hunt and Crossley's equation of motion, integrated once by the depth of the dent.
    """
    loss, speed = 0.2, 1.3

    def left(u: float) -> float:
        return u - math.log1p(1.5 * loss * u) / (1.5 * loss)

    expected = brentq(lambda u: left(-u) - left(speed), 0.1, speed)
    sim = BouncingBall(gravity=0.0, stiffness=stiffness, loss=loss, dt=2e-3)
    with torch.no_grad():
        end = sim(sim.at(torch.tensor([0.5, -speed], dtype=torch.float64)), 750).values
    assert end[0] > 0
    assert float(end[1]) == pytest.approx(expected, rel=1e-5)


def test_a_floor_without_loss_keeps_the_energy():
    sim = BouncingBall(loss=0.0, dt=5e-3).requires_grad_(False)
    start = sim.state()
    end = sim(start, 1000)
    energy = sim.energy(torch.stack((start.values, end.values)), sim.values())
    assert float(energy[0]) == 1.0
    assert float(energy[1]) == pytest.approx(1.0, abs=1e-5)


class _Heights(nn.Module):
    """The heights of all masses above the Earth, as an energy of bodies."""

    def forward(self, x: torch.Tensor, types: torch.Tensor, system: torch.Tensor) -> torch.Tensor:
        down = x[types == EARTH][system] - x
        height = torch.linalg.vector_norm(x, dim=1) * 0 + (types == MASS) * -down[:, 1]
        return height.new_zeros(int(system[-1]) + 1).index_add(0, system, height)


@pytest.mark.parametrize("name", ["pendulum", "double-pendulum"])
def test_bodies_hang_where_the_coordinates_say(name):
    """The work that lifting the bodies takes is the simulator's own potential energy."""
    sim = sfm.simulator(f"dynamics/{name}").requires_grad_(False)
    n = sim.dim // 2
    q = torch.randn(7, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = torch.cat((q, torch.zeros_like(q)), -1)
    potential = BodyPotential(_Heights(), PLACEMENTS[name])
    apart = sim.energy(x, sim.values()) - potential(x)
    torch.testing.assert_close(apart, apart[:1].expand_as(apart))


@pytest.mark.parametrize(("name", "length"), [("mass-spring", 2.0), ("spring-pendulum", 1.0)])
def test_springs_are_as_long_as_the_coordinates_say(name, length):
    sim = sfm.simulator(f"dynamics/{name}").requires_grad_(False)
    zero = {"gravity": torch.zeros(())} if name == "spring-pendulum" else {}
    q = torch.rand(5, sim.dim // 2, dtype=torch.float64) + 0.2
    places = PLACEMENTS[name].positions(q)
    stretch = torch.linalg.vector_norm(places[:, 0] - places[:, 1], dim=1) - length
    p = {**sim.values(), **zero}
    exact = sim.energy(torch.cat((q, torch.zeros_like(q)), -1), p)
    torch.testing.assert_close(0.5 * p["stiffness"] * stretch**2, exact)


def test_stars_and_balls_lie_in_their_plane():
    q = torch.arange(6, dtype=torch.float64)
    places = PLACEMENTS["three-body"].positions(q)
    assert PLACEMENTS["three-body"].types == (STAR,) * 3
    torch.testing.assert_close(places[:, :2], q.reshape(3, 2))
    ball, floor = PLACEMENTS["bouncing-ball"].positions(torch.tensor([0.4]))
    assert float((ball - floor)[1]) == pytest.approx(1.9)


def test_a_potential_of_bodies_runs_a_pendulum():
    """As the closure of a pendulum without gravity, against the pendulum with it."""
    closure = BodyPotential(_Heights(), PLACEMENTS["pendulum"])
    learned = Pendulum(gravity=0.0, closure=closure).requires_grad_(False)
    known = Pendulum().requires_grad_(False)
    with torch.no_grad():
        a, b = (sim(sim.state(), 50).values for sim in (learned, known))
    torch.testing.assert_close(a, b)


def test_an_energy_of_bodies_may_have_friction_beside_it():
    """The same with friction as a part of either closure; all but the energy of bodies is known."""
    friction = Constant(torch.tensor([0.5], dtype=torch.float64))
    bodies = BodyPotential(_Heights(), PLACEMENTS["pendulum"])
    options = {"method": "rk4", "dt": 0.05}
    learned = Pendulum(gravity=0.0, closure=OpenSystem(bodies, friction=friction), **options)
    known = Pendulum(closure=OpenSystem(friction=friction), **options)
    with torch.no_grad():
        a, b = (sim(sim.state(), 50) for sim in (learned, known))
        lost = known.observe(known.state())["hamiltonian"] - known.observe(b)["hamiltonian"]
    torch.testing.assert_close(a.values, b.values)
    assert float(lost) > 0.1


def test_a_recurrent_network_learns_a_spring_from_its_states():
    """Runs through leapfrog, no rates; then a turn from a start between those that it saw."""
    sim = MassSpring(method="yoshida4", dt=0.1).requires_grad_(False)
    starts = torch.tensor([[1.0, 0.0], [0.5, 0.5], [-0.4, 0.2]], dtype=torch.float64)
    run = [sim.at(starts)]
    for _ in range(60):
        run.append(sim(run[-1]))
    network = Separable(1, 16)
    states = torch.stack([state.values[:2] for state in run])
    assert learn_runs(network, states, 0.1, window=3, iterations=60) < 1e-4
    advance, x = leapfrog(network, 0.1), starts[2]
    with torch.no_grad():
        for _ in range(60):
            x = advance(x)
    assert float((x - run[-1].values[2]).abs().max()) < 0.1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_longer_reach_makes_a_smoother_energy(monkeypatch, seed):
    """Of two bodies 0.6 to 3.4 apart, untrained: curvature over slope, per length of the range."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    import six_systems

    def roughness(reach: float) -> float:
        monkeypatch.setattr(six_systems, "REACH", reach)
        model = six_systems._model(seed).double().requires_grad_(False)
        q = torch.linspace(-1.4, 1.4, 29, dtype=torch.float64)[:, None].requires_grad_()
        energy = six_systems._body_potential(model, "mass-spring").at(q)
        (slope,) = torch.autograd.grad(energy.sum(), q, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), q)
        return float((bend.square().mean() / slope.square().mean()).detach().sqrt() * 2.8)

    short, long = roughness(6.0), roughness(24.0)
    assert long < 0.6 * short


def test_the_recipe_knows_its_systems_and_judges_the_equation_itself(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    from six_systems import SYSTEMS, measured

    assert set(SYSTEMS) == set(PLACEMENTS)
    row = measured("spring-pendulum", "classical", 1, 0)
    assert row["error"] < 1e-3
    assert row["energy_error"] < 1e-3
