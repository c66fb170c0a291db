"""Stochastic partial differential equations against exact laws and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_dynamics.simulators.spde import StochasticAllenCahn, StochasticBurgers, StochasticHeat

from sfm.cli import main
from sfm.errors import InputError, InputWarning
from sfm.simulate.fit import fit


def test_stationary_variance_of_the_heat_equation():
    """sigma^2 coth(L sqrt(mu/nu) / 2) / (4 sqrt(mu nu)), and the part that the grid leaves out.

    1,500 independent fields of 32 points, about 10 independent numbers each: 3 % is four standard
    errors. Steps of 2.5 are long beside 1 / mu: the law is exact for any step.
    """
    nu, mu, sigma = 0.1, 1.0, 0.3
    sim = StochasticHeat(viscosity=nu, damping=mu, noise=sigma, n=32, dt=2.5, paths=1500)
    sim.requires_grad_(False)
    variance = float(sim(sim.state(), 4).values.square().mean())
    length = sim.length
    exact = sigma**2 / (4 * math.sqrt(mu * nu)) / math.tanh(0.5 * length * math.sqrt(mu / nu))
    left_out = sum(sigma**2 / length / (nu * k * k + mu) for k in range(16, 100_000))
    assert left_out < 0.15 * exact
    assert variance == pytest.approx(exact - left_out, rel=0.03)


def test_correlation_in_time_of_a_mode():
    """cos k x decays as exp(-(nu k^2 + mu) t) without noise, for any step."""
    sim = StochasticHeat(noise=0.0, viscosity=0.2, damping=0.5, dt=0.7, n=16, paths=1)
    sim.requires_grad_(False)
    start = sim.state()._replace(values=torch.cos(3 * sim.points)[None])
    decayed = start.values * math.exp(-(0.2 * 9 + 0.5) * 2.1)
    torch.testing.assert_close(sim(start, 3).values, decayed, rtol=0, atol=1e-14)


def test_burgers_without_noise_is_cole_and_hopf_s():
    """2 nu e^(-nu t) sin x / (c + e^(-nu t) cos x); first order in dt."""
    nu, c, errors = 0.3, 1.5, []

    def exact(x, t):
        e = math.exp(-nu * t)
        return 2 * nu * e * torch.sin(x) / (c + e * torch.cos(x))

    for steps in (100, 200):
        sim = StochasticBurgers(viscosity=nu, noise=0.0, n=64, dt=1 / steps, paths=1)
        sim.requires_grad_(False)
        start = sim.state()._replace(values=exact(sim.points, 0.0)[None])
        errors.append(float((sim(start, steps).values[0] - exact(sim.points, 1.0)).abs().max()))
    assert errors[1] < 5e-4
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


def test_allen_cahn_without_noise():
    """A uniform phase is (1 + (u0^-2 - 1) e^(-2 t))^(-1/2); walls are tanh(x / sqrt(2 nu))."""
    sim = StochasticAllenCahn(noise=0.0, n=64, viscosity=0.02, dt=0.005, paths=1)
    sim.requires_grad_(False)
    start = sim.state()
    flat = sim(start._replace(values=torch.full_like(start.values, 0.3)), 200).values
    phase = (1 + (0.3**-2 - 1) * math.exp(-2)) ** -0.5
    torch.testing.assert_close(flat, torch.full_like(flat, phase), rtol=3e-3, atol=0)
    wall = torch.tanh((sim.points - math.pi) / math.sqrt(0.04))
    kept = (sim.points - math.pi).abs() < 1.2  # the other wall is at x = 0
    begun = torch.where(kept, wall, -torch.tanh(sim.points / 0.2) * (sim.points < 2) + wall * 0)
    begun = torch.where(sim.points > 4.34, torch.tanh((2 * math.pi - sim.points) / 0.2), begun)
    end = sim(start._replace(values=begun[None]), 200).values[0]
    torch.testing.assert_close(end[kept], wall[kept], rtol=0, atol=2e-3)


def test_gradients_through_the_noise():
    """d <u^2> / d sigma = 2 <u^2> / sigma for the linear equation, path by path."""
    sim = StochasticHeat(n=16, paths=3, dt=0.1, noise=0.2)
    square = sim(sim.state(), 5).values.square().mean()
    (slope,) = torch.autograd.grad(square, sim.noise)
    assert float(slope) == pytest.approx(float(2 * square.detach() / 0.2), rel=1e-12)


def test_a_state_determines_its_future():
    sim = StochasticBurgers(n=16, paths=2).requires_grad_(False)
    half = sim(sim.state(), 5)
    torch.testing.assert_close(sim(half, 5).values, sim(sim.state(), 10).values, rtol=0, atol=0)


@pytest.fixture
def a_run(tmp_path):
    """Heat, nu 0.2 and mu 0.5, sigma 0.3: 40 paths of 16 points at 30 intervals of 0.5."""
    truth = {"viscosity": 0.2, "damping": 0.5}
    sim = StochasticHeat(**truth, noise=0.3, n=16, dt=0.5, paths=40).requires_grad_(False)
    run = sim.run(sim.state(), 30)
    path = tmp_path / "run.npz"
    arrays = {"times": run.times, "state": run.observables["state"], **sim.stating()}
    np.savez(path, **{name: np.asarray(a) for name, a in arrays.items()})
    return path, truth


def test_parameters_of_the_heat_equation_from_a_run(a_run):
    """Within four standard errors of a few percent; the noise is in the residuals of each mode."""
    path, truth = a_run
    sim = StochasticHeat(n=16, dt=0.5)
    result = fit(sim, sim.read_observations(path), ["viscosity", "damping"])
    assert result.converged
    for name, value in truth.items():
        estimate = result.estimates[name]
        assert 0.005 < float(estimate.standard_error) / value < 0.1
        assert abs(float(estimate.value) - value) < 4 * float(estimate.standard_error)
    rate = 0.2 * 3**2 + 0.5
    dx = 2 * math.pi / 16
    spread = 0.3 * math.sqrt((1 - math.exp(-rate)) / (2 * rate) / dx / 2)  # a half: two numbers
    assert result.residual_rms["mode_3"] == pytest.approx(spread, rel=0.1)


def test_the_viscosity_of_burgers_from_a_noisy_run(tmp_path):
    """The command line writes a run and fits it: nu 0.1 within 4 standard errors, of below 5 %."""
    path, name = tmp_path / "run.npz", "dynamics/stochastic-burgers"
    few = ["--set", "n=16", "paths=20"]
    assert (
        main(["simulate", name, *few, "--steps", "100", "--every", "2", "--output", str(path)]) == 0
    )
    sim = StochasticBurgers(n=16, viscosity=0.3)
    estimate = fit(sim, sim.read_observations(path), ["viscosity"]).estimates["viscosity"]
    error = float(estimate.standard_error)
    assert abs(float(estimate.value) - 0.1) < 4 * error < 0.02


def test_series_that_are_none_are_refused(a_run, tmp_path):
    path, _ = a_run
    arrays = dict(np.load(path))
    sim = StochasticHeat(n=16)

    def refused(message, **changes):
        np.savez(tmp_path / "b.npz", **{**arrays, **changes})
        with pytest.raises(InputError, match=message):
            sim.read_observations(tmp_path / "b.npz")

    refused("--set length=3", length=np.array(3.0))
    refused("not equally spaced", times=arrays["times"] ** 2)
    refused("--set n=8", state=arrays["state"][..., :8])
    refused("no finite number", state=arrays["state"] * np.nan)
    with pytest.raises(InputError, match=r"read from .npz, not '.csv'"):
        sim.read_observations(tmp_path / "b.csv")
    np.savez(tmp_path / "b.npz", **arrays, pressure=arrays["times"])
    with pytest.warns(InputWarning, match="not used: pressure"):
        sim.read_observations(tmp_path / "b.npz")
