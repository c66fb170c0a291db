"""Hamiltonian systems against closed forms, published orbits and Lagrange's equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sfm_dynamics.simulators.bodies import ACCELERATION, TIME, BodiesInSpace
from sfm_dynamics.simulators.gravity import Kepler, ThreeBody, TwoBody
from sfm_dynamics.simulators.learned import LearnedHamiltonian
from sfm_dynamics.simulators.mechanics import DoublePendulum, HenonHeiles, Pendulum

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning


@pytest.mark.parametrize(("method", "order"), [("leapfrog", 2), ("yoshida4", 4)])
def test_energy_is_conserved_to_the_order_of_the_method(method, order):
    """The largest energy error over many periods of a pendulum falls as dt^order, without drift."""
    worst = []
    for dt in (0.1, 0.05):
        sim = Pendulum(method=method, dt=dt).requires_grad_(False)
        run = sim.run(sim.state(), round(40 / dt), every=1)
        error = (run.observables["hamiltonian"] - run.observables["hamiltonian"][0]).abs()
        worst.append(float(error.max()))
        half = len(error) // 2
        assert float(error[half:].max()) < 1.05 * float(error[:half].max())
    assert math.log2(worst[0] / worst[1]) == pytest.approx(order, abs=0.2)


def test_kepler_returns_after_its_period_and_runs_backwards():
    sim = Kepler(dt=2 * math.pi / 1000, method="yoshida4").requires_grad_(False)
    start = sim.state()
    end = sim(start, 1000)
    torch.testing.assert_close(end.values, start.values, rtol=0, atol=2e-6)
    back = sim(sim.at(end.values * torch.tensor([1, 1, -1, -1])), 1000)
    torch.testing.assert_close(
        back.values * torch.tensor([1, 1, -1, -1]), start.values, rtol=0, atol=1e-11
    )


def test_the_figure_of_eight_closes():
    """Chenciner and Montgomery's orbit; period 6.32591398 of Simo's initial values."""
    sim = ThreeBody(dt=6.32591398, method="dopri8", rtol=1e-11, atol=1e-12).requires_grad_(False)
    start = sim.state()
    torch.testing.assert_close(sim(start).values, start.values, rtol=0, atol=2e-6)


def test_two_bodies_on_a_circle():
    """Radius 1, G = 1: momenta 1/2, angular velocity 1/2."""
    sim = TwoBody(dt=0.01, method="yoshida4").requires_grad_(False)
    start = sim.at(torch.tensor([1.0, 0, -1, 0, 0, 0.5, 0, -0.5], dtype=torch.float64))
    end = sim(start, 200).values
    assert end[:2].tolist() == pytest.approx([math.cos(1.0), math.sin(1.0)], abs=1e-9)


def test_double_pendulum_obeys_lagrange():
    """The Hamiltonian against the equations of motion in angles, M(q) q'' = f, by scipy."""
    m1, m2, l1, l2, g = 1.0, 0.7, 1.2, 0.8, 1.0
    sim = DoublePendulum(mass1=m1, mass2=m2, length1=l1, length2=l2, dt=0.01)
    sim.requires_grad_(False)

    def accelerations(t, u):
        a, b, da, db = u
        c, s = math.cos(a - b), math.sin(a - b)
        matrix = [[(m1 + m2) * l1**2, m2 * l1 * l2 * c], [m2 * l1 * l2 * c, m2 * l2**2]]
        force = [
            -m2 * l1 * l2 * db**2 * s - (m1 + m2) * g * l1 * math.sin(a),
            m2 * l1 * l2 * da**2 * s - m2 * g * l2 * math.sin(b),
        ]
        return [da, db, *np.linalg.solve(matrix, force)]

    angles = solve_ivp(
        accelerations, (0, 3), [2.0, 1.5, 0, 0], method="DOP853", rtol=1e-11, atol=1e-12
    ).y[:2, -1]
    np.testing.assert_allclose(sim(sim.state(), 300).values[:2], angles, atol=1e-6)


def test_henon_heiles_saddle():
    """The energy of the saddle at (0, 1) is 1/6."""
    sim = HenonHeiles()
    assert float(sim.observe(sim.at(torch.tensor([0.0, 1, 0, 0])))["hamiltonian"].detach()) == (
        pytest.approx(1 / 6)
    )


def test_methods_that_a_hamiltonian_cannot_take_are_refused():
    with pytest.raises(InputError, match=r"needs H = T\(p\) \+ V\(q\)"):
        DoublePendulum(method="leapfrog")
    sim = LearnedHamiltonian()
    with pytest.raises(InputError, match="needs a closure"):
        sim(sim.state())


def _pair(**more) -> Sample:
    """Two bodies of 1 amu on a circle of radius 0.5 angstrom under gravity G = 1, no softening."""
    speed = math.sqrt(0.5 / 1.0) / TIME
    return Sample(
        id="pair",
        domain="dynamics",
        positions=np.array([[0.5, 0, 0], [-0.5, 0, 0]]),
        types=np.zeros(2, dtype=np.int64),
        velocities=np.array([[0, speed, 0], [0, -speed, 0]]),
        **more,
    )


def test_bodies_have_the_units_of_molecules():
    """The period of that circle is 2 pi sqrt(d^3 / 2) = 4.443 units of 10.18 fs."""
    sim = BodiesInSpace(softening=0.0, method="yoshida4", dt=TIME * math.pi * math.sqrt(2) / 200)
    sim.requires_grad_(False)
    assert pytest.approx(10.18051) == TIME
    start = sim.state(_pair())
    end = sim(start, 200)
    torch.testing.assert_close(end.positions, start.positions, rtol=0, atol=1e-5)
    seen = sim.observe(start)
    assert float(seen["body_kinetic_energy"].detach()) == pytest.approx(0.5)
    assert float(seen["forces"][0, 0].detach()) == pytest.approx(-1.0)
    assert pytest.approx(9.648533e-3) == ACCELERATION


def test_fixed_bodies_stay_and_masses_count():
    sim = BodiesInSpace(softening=0.0).requires_grad_(False)
    state = sim.state(_pair(fixed=np.array([True, False]), masses=np.array([2.0, 1.0])))
    end = sim(state, 20)
    assert torch.equal(end.positions[0], state.positions[0])
    assert float(sim.observe(state)["energy"].detach()) == pytest.approx(-2.0)


def test_what_no_force_between_bodies_depends_on_is_said(tmp_path):
    from sfm.data.readers import read_file

    path = tmp_path / "a.xyz"
    path.write_text("2\ncharge=-1\nO 0 0 0\nH 0 0 1\n")
    (sample,) = read_file(path, domain="dynamics")
    with pytest.warns(InputWarning, match=r"charge=-1, elements .*masses are 1 amu.* not used"):
        BodiesInSpace().state(sample)
    BodiesInSpace().state(sample.replace(conditions={}, masses=np.array([16.0, 1.0])))
