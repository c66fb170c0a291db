"""Stochastic equations against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm
from sfm_dynamics.simulators.sde import GeometricBrownianMotion, OrnsteinUhlenbeck

from sfm.errors import InputError


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
