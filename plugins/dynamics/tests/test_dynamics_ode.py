"""Ordinary equations against closed forms, published values and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import ellipk
from sfm_dynamics.simulators.chaos import Lorenz63, Lorenz96
from sfm_dynamics.simulators.mechanics import MassSpring, Pendulum
from sfm_dynamics.simulators.oscillators import VanDerPol
from sfm_dynamics.simulators.reactions import LotkaVolterra, Robertson

from sfm.errors import InputError, RunError


@pytest.mark.parametrize(
    ("method", "order"),
    [("euler", 1), ("midpoint", 2), ("rk4", 4), ("rk5", 5), ("gauss4", 4), ("radau5", 5)],
)
def test_order_of_accuracy(method, order):
    """x'' = -x from (1, 0): cos t and -sin t."""
    errors = []
    for n in (20, 40):
        sim = MassSpring(method=method, dt=2.0 / n).requires_grad_(False)
        end = sim(sim.state(), n).values
        exact = torch.tensor([math.cos(2.0), -math.sin(2.0)], dtype=torch.float64)
        errors.append(float((end - exact).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_adaptive_steps_agree_with_scipy():
    """Lorenz 63 over 5 time units, where errors grow by e^4.5."""
    sim = Lorenz63(method="dopri5", dt=5.0, rtol=1e-10, atol=1e-12).requires_grad_(False)

    def rates(t, u):
        x, y, z = u
        return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]

    end = solve_ivp(rates, (0, 5), sim.start(), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(sim(sim.state()).values, end, rtol=1e-6)


def test_lorenz_96_agrees_with_its_definition():
    sim = Lorenz96(n=6).requires_grad_(False)
    x = np.random.default_rng(0).normal(size=6)
    exact = [(x[(i + 1) % 6] - x[i - 2]) * x[i - 1] - x[i] + 8 for i in range(6)]
    np.testing.assert_allclose(sim.field()(torch.from_numpy(x)), exact, rtol=1e-14)


def _gradients(sim) -> torch.Tensor:
    end = sim(sim.state(), 10).values
    return torch.stack(torch.autograd.grad(end[0], list(sim.parameters())))


def test_adjoint_equals_direct_gradient():
    tight = {"method": "dopri5", "dt": 0.5, "rtol": 1e-11, "atol": 1e-11}
    direct = _gradients(LotkaVolterra(**tight, gradients="direct"))
    torch.testing.assert_close(
        _gradients(LotkaVolterra(**tight, gradients="adjoint")), direct, rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        _gradients(LotkaVolterra(**tight, gradients="recompute")), direct, rtol=1e-12, atol=0
    )


def test_stiff_reactions_reach_the_published_values():
    """Hairer and Wanner's test set, t = 40 s; nine orders of magnitude between the rates."""
    sim = Robertson(dt=40.0, rtol=1e-8, atol=1e-14).requires_grad_(False)
    fractions = sim(sim.state()).values
    published = torch.tensor([0.7158270688, 9.185534765e-6, 0.2841637457])
    torch.testing.assert_close(fractions, published.double(), rtol=1e-7, atol=0)
    assert float(fractions.sum()) == pytest.approx(1.0, abs=1e-13)


def test_an_implicit_run_has_the_gradient_of_the_solution():
    def end(k1):
        sim = Robertson(dt=10.0, rtol=1e-9, atol=1e-14, k1=k1)
        return sim, sim(sim.state()).values[0]

    sim, value = end(0.04)
    (slope,) = torch.autograd.grad(value, sim.k1)
    h = 1e-5
    difference = float((end(0.04 + h)[1] - end(0.04 - h)[1]).detach() / (2 * h))
    assert float(slope) == pytest.approx(difference, rel=1e-4)


def test_events_are_differentiable():
    """A pendulum from rest at 1.5 passes the lowest point after K(sin^2(0.75)) sqrt(l/g)."""
    sim = Pendulum(gravity=2.0, rtol=1e-11, atol=1e-12)
    lowest = sim.until(sim.state(), lambda x: x[0])
    quarter = ellipk(math.sin(0.75) ** 2) / math.sqrt(2.0)
    assert float(lowest.time.detach()) == pytest.approx(quarter, rel=1e-9)
    (slope,) = torch.autograd.grad(lowest.time, sim.gravity)
    assert float(slope) == pytest.approx(-quarter / (2 * 2.0), rel=1e-7)
    with pytest.raises(InputError, match="zero at the start"):
        sim.until(sim.state(), lambda x: x[1])


def test_the_limit_cycle_of_van_der_pol():
    """At mu = 1: Hairer, Norsett, Wanner, Solving ODEs I (1993), I.16, exercise 1."""
    sim = VanDerPol(dt=40.0, method="dopri8", rtol=1e-12, atol=1e-12).requires_grad_(False)
    start = sim(sim.state())  # on the cycle by now
    first = sim.until(start, lambda x: x[0])
    away = sim.at(first.values + 1e-9 * torch.sign(first.values[1]) * torch.tensor([1.0, 0.0]))
    half = sim.until(away, lambda x: x[0])
    assert 2 * float(half.time) == pytest.approx(6.6632868593, rel=1e-7)


def test_fits_recover_parameters_of_a_run(tmp_path):
    from sfm.simulate.fit import fit

    true = LotkaVolterra(alpha=0.6, beta=0.03, dt=0.2).requires_grad_(False)
    run = true.run(true.state(), 100, every=5)  # two periods
    path = tmp_path / "run.npz"
    np.savez(path, times=run.times, state=run.observables["state"], exact_start=True)
    sim = LotkaVolterra(alpha=0.5, beta=0.025, dt=0.2)
    report = fit(sim, sim.read_observations(path), ["alpha", "beta"])
    assert report.converged
    assert float(report.estimates["alpha"].value) == pytest.approx(0.6, rel=1e-8)
    assert float(report.estimates["beta"].value) == pytest.approx(0.03, rel=1e-8)


def test_measured_populations():
    """Pelts of 1900 to 1920; Carpenter's posterior means are 0.55, 0.028, 0.80, 0.024 (2018).

    His errors are lognormal, ours normal: the estimates agree within a fifth.
    """
    import sfm
    from sfm.simulate.fit import fit

    sim = LotkaVolterra(dt=0.5)
    names = ["alpha", "beta", "gamma", "delta"]
    report = fit(sim, sim.read_observations(sfm.example("hare-lynx.csv")), names)
    values = [float(report.estimates[name].value) for name in names]
    np.testing.assert_allclose(values, [0.55, 0.028, 0.80, 0.024], rtol=0.2)


def test_mistakes_are_said(tmp_path):
    with pytest.raises(InputError, match="gradients=adjoint goes with"):
        LotkaVolterra(gradients="adjoint")
    with pytest.raises(InputError, match="prey, predator"):
        LotkaVolterra().at(torch.zeros(3))
    sim = VanDerPol(mu=1000.0, dt=0.1)
    with pytest.raises(RunError, match="smaller dt"):
        sim(sim.state(), 50)
    path = tmp_path / "bad.csv"
    path.write_text("time,prey,predators\n0,1,2\n1,2,3\n")
    with pytest.raises(InputError, match=r"no column 'predator'.*Did you mean"):
        LotkaVolterra().read_observations(path)
    path.write_text("time,prey,predator\n0,1,2\n1,x,3\n")
    with pytest.raises(InputError, match="row 3, column 'prey': 'x'"):
        LotkaVolterra().read_observations(path)
    path.write_text("time,prey,predator\n0,1,2\n0,1,3\n")
    with pytest.raises(InputError, match="do not increase at row 2"):
        LotkaVolterra().read_observations(path)


def test_a_list_where_one_number_belongs_is_one_line(capsys):
    from sfm.cli import main

    words = ["simulate", "dynamics/lorenz-63", "--steps", "2", "--set", "rho=[14,28]"]
    assert main(words) == 2
    assert "rho is a list, which this run cannot take" in capsys.readouterr().err


@pytest.mark.parametrize("n", [3, 10**9])
def test_a_circle_of_weather_has_a_size_that_can_be(n):
    with pytest.raises(InputError, match=f"n={n} must be 4 to"):
        Lorenz96(n=n)
