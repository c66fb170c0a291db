"""Stochastic equations against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sfm_dynamics.simulators.sde import GeometricBrownianMotion, OrnsteinUhlenbeck

from sfm.errors import InputError
from sfm.simulate.fit import fit


@pytest.mark.parametrize(
    ("method", "order"), [("euler-maruyama", 0.5), ("milstein", 1), ("heun", 1)]
)
def test_strong_order_on_geometric_brownian_motion(method, order):
    """Mean |X_h(1) - X(1)| over 4,000 paths, against exp of the same Wiener process."""
    mu, sigma, paths, finest = 0.5, 1.0, 4000, 256
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(finest, paths, 1, generator=generator, dtype=torch.float64) / finest**0.5
    exact = torch.exp((mu - 0.5 * sigma**2) + sigma * noise.sum(0))
    errors = []
    for n in (16, 64, 256):
        sim = GeometricBrownianMotion(mu=mu, sigma=sigma, method=method, dt=1 / n, paths=paths)
        sim.requires_grad_(False)
        coarse = noise.reshape(n, finest // n, paths, 1).sum(1)
        errors.append(float((sim(sim.state(), n, coarse).values - exact).abs().mean()))
    measured = math.log(errors[0] / errors[2]) / math.log(16)
    assert measured == pytest.approx(order, abs=0.12)


@pytest.mark.parametrize(("method", "factor"), [("euler-maruyama", 1 / 0.99), ("heun", 1.0)])
def test_ornstein_uhlenbeck_variance(method, factor):
    """sigma^2 (1 - exp(-2 theta t)) / (2 theta); four times the error of 80,000 paths is allowed.

    Euler-Maruyama's own stationary variance is larger by the factor 1 / (1 - theta h / 2).
    """
    variances = []
    for seed in range(4):
        sim = OrnsteinUhlenbeck(theta=2.0, sigma=0.6, paths=20_000, method=method, seed=seed)
        sim.requires_grad_(False)
        variances.append(float(sim(sim.state(), 150).values.var()))
    variance = factor * 0.36 / 4 * (1 - math.exp(-6))
    assert sum(variances) / 4 == pytest.approx(variance, rel=0.02)


def test_price_and_delta_of_an_option():
    """A European call by Black and Scholes; the derivative goes through the paths."""
    strike, rate, sigma = 1.05, 0.05, 0.2
    sim = GeometricBrownianMotion(mu=rate, sigma=sigma, dt=0.1, paths=40_000)
    end = sim(sim.state(), 10).values
    price = math.exp(-rate) * (end - strike).clamp_min(0).mean()
    delta, vega = torch.autograd.grad(price, (sim.initial, sim.sigma))
    d1 = (math.log(1 / strike) + rate + 0.5 * sigma**2) / sigma
    exact = norm.cdf(d1) - strike * math.exp(-rate) * norm.cdf(d1 - sigma)
    assert float(price.detach()) == pytest.approx(exact, rel=0.03)
    assert float(delta) == pytest.approx(norm.cdf(d1), rel=0.02)
    assert float(vega) == pytest.approx(norm.pdf(d1), rel=0.04)


def test_a_state_determines_its_future_and_increments_are_counted():
    sim = OrnsteinUhlenbeck(paths=3).requires_grad_(False)
    half = sim(sim.state(), 5)
    assert torch.equal(sim(half, 5).values, sim(sim.state(), 10).values)
    with pytest.raises(InputError, match="increments for 2 of 3 steps"):
        sim(sim.state(), 3, torch.zeros(2, 3, 1))


def _ornstein_uhlenbeck(seed: int, theta=1.3, mu=0.5, sigma=0.8, h=0.2) -> np.ndarray:
    """Five paths of 201 values by the exact law."""
    rng = np.random.default_rng(seed)
    x = np.full((201, 5), mu)
    spread = sigma * np.sqrt((1 - np.exp(-2 * theta * h)) / (2 * theta))
    for k in range(200):
        x[k + 1] = mu + (x[k] - mu) * np.exp(-theta * h) + spread * rng.standard_normal(5)
    return x


def _price(seed: int, mu=0.1, sigma=0.3) -> np.ndarray:
    """A year of 250 days."""
    steps = np.random.default_rng(seed).standard_normal(250) * sigma / 250**0.5
    return np.exp(np.concatenate(([0], np.cumsum(steps + (mu - sigma**2 / 2) / 250))))


@pytest.mark.parametrize(
    ("kind", "make", "interval", "truth"),
    [
        (OrnsteinUhlenbeck, _ornstein_uhlenbeck, 0.2, {"theta": 1.3, "mu": 0.5, "sigma": 0.8}),
        (GeometricBrownianMotion, _price, 1 / 250, {"mu": 0.1, "sigma": 0.3}),
    ],
)
def test_parameters_of_paths_and_their_errors(kind, make, interval, truth, tmp_path):
    """Drift and noise from paths: errors are as large as said, over fifteen sets of data."""
    scores = []
    for seed in range(15):
        x = make(seed)
        np.savez(tmp_path / "x.npz", times=interval * np.arange(len(x)), state=x)
        sim = kind()
        result = fit(sim, sim.read_observations(tmp_path / "x.npz"), list(truth))
        assert result.converged
        estimates = [result.estimates[name] for name in truth]
        scores.append(
            [
                float((e.value - true) / e.standard_error)
                for e, true in zip(estimates, truth.values(), strict=True)
            ]
        )
    spread = np.sqrt(np.square(scores).mean(0))  # 1 +- 0.18 each
    assert (spread > 0.55).all()
    assert (spread < 1.5).all()
    assert result.residual_rms["standard_step"] == pytest.approx(1.0, abs=0.01)


def test_the_error_of_a_volatility_is_that_of_its_likelihood(tmp_path):
    """sigma / sqrt(2 n) for n returns, and sigma / sqrt(T) for the drift."""
    x = _price(3)
    rows = "\n".join(f"{t},{v:.12g}" for t, v in enumerate(x))
    (tmp_path / "x.csv").write_text("time,price\n" + rows + "\n")
    sim = GeometricBrownianMotion()
    result = fit(sim, sim.read_observations(tmp_path / "x.csv"), ["mu", "sigma"])
    returns = np.diff(np.log(x))
    sigma, mu = result.estimates["sigma"], result.estimates["mu"]
    assert float(sigma.value) == pytest.approx(returns.std(), rel=1e-6)
    assert float(mu.value) == pytest.approx(returns.mean() + returns.var() / 2, rel=1e-5)
    assert float(sigma.standard_error) == pytest.approx(returns.std() / 500**0.5, rel=0.02)
    assert float(mu.standard_error) == pytest.approx(returns.std() / 250**0.5, rel=0.02)


def test_the_command_line_fits_the_paths_that_it_wrote(tmp_path, capsys):
    from sfm.cli import main

    path = str(tmp_path / "run.npz")
    name = "dynamics/ornstein-uhlenbeck"
    few = ["--steps", "1000", "--every", "10", "--set", "paths=20"]
    assert main(["simulate", name, *few, "--output", path]) == 0
    capsys.readouterr()
    assert main(["fit", name, "--data", path, "--param", "theta", "--param", "sigma"]) == 0
    assert "theta" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("times", "x", "message"),
    [
        ([0, 1, 2, 3], [1.0, 2.0, -1.0, 1.0], "prices must be positive"),
        ([0, 1, 3, 4], [1.0, 2.0, 1.5, 1.0], "not equally spaced"),
        ([0, 1, 2, 3], [1.0, 1.0, 1.0, 1.0], "3 steps without noise"),
        ([0, 1, 2, 3], np.ones((4, 2, 2)), "are no paths"),
        ([0, 1, 2, 3], [1.0, 2.0, np.nan, 1.0], "no finite number"),
    ],
)
def test_paths_that_are_none_are_refused(tmp_path, times, x, message):
    np.savez(tmp_path / "x.npz", times=np.array(times, float), state=np.array(x))
    with pytest.raises(InputError, match=message):
        GeometricBrownianMotion().read_observations(tmp_path / "x.npz")
