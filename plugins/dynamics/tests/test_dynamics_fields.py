"""Stochastic fields on a circle: the dataset against its laws, the scheme's order, the encoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_dynamics.data.fields import SIGMAS
from sfm_dynamics.data.specs import CIRCLES
from sfm_dynamics.model.circle import derivatives
from sfm_dynamics.simulators.spde import StochasticAllenCahn, StochasticBurgers, StochasticHeat

import sfm
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.recipe import parse
from sfm.registry import find
from sfm.train.pretrain import pretrain

EQUATIONS = (StochasticHeat, StochasticBurgers, StochasticAllenCahn)
NU, MU, POINTS, BETWEEN = 0.1, 1.0, 32, 0.2


@pytest.fixture(scope="module")
def samples():
    return [
        sample
        for split in ("train", "validation", "test")
        for sample in sfm.dataset("dynamics/dynamics-fields", split=split)
    ]


def _runs(samples, name, sigma):
    """(starts, T, n) of an equation at one strength."""
    rows = sorted(
        (s.id, s.fields["state"])
        for s in samples
        if s.id.startswith(name) and s.conditions["sigma"] == pytest.approx(sigma)
    )
    states = np.array([state for _, state in rows], dtype=np.float64)
    return torch.from_numpy(states).reshape(-1, 10, POINTS)


def _rates(k):
    return NU * k**2 + MU


def test_one_start_is_in_one_split(samples):
    split = {}
    for part in ("train", "validation", "test"):
        for sample in sfm.dataset("dynamics/dynamics-fields", split=part):
            if sample.conditions["time"] == 0:
                split.setdefault(sample.fields["state"].tobytes(), set()).add(part)
    assert len(split) == 12  # of three equations at three strengths
    assert all(len(parts) == 1 for parts in split.values())
    assert set.union(*split.values()) == {"train", "validation", "test"}


@pytest.mark.parametrize("sigma", SIGMAS)
def test_steps_of_the_heat_equation_have_their_law(samples, sigma):
    """u_k(t + T) - e^(-l T) u_k(t) is normal with variance n sigma^2 / dx (1 - e^(-2 l T)) / 2 l.

    108 steps of 32 numbers: the variance has a standard error of 2.4 %, four are allowed.
    """
    u = torch.fft.rfft(_runs(samples, "stochastic-heat", sigma), norm="ortho")
    decay = _rates(torch.arange(POINTS // 2 + 1, dtype=torch.float64))
    step = u[:, 1:] - torch.exp(-decay * BETWEEN) * u[:, :-1]
    if sigma == 0:
        assert float(step.abs().max()) < 1e-6  # stored in single precision
        return
    dx = 2 * math.pi / POINTS
    variance = sigma**2 / dx * (1 - torch.exp(-2 * decay * BETWEEN)) / (2 * decay)
    power = (step.abs().square() / variance).mean((0, 1))
    power[1:-1] *= 2  # two numbers each, of half the variance
    count = power.new_tensor([1.0] + [2.0] * (len(power) - 2) + [1.0])
    assert float(power.sum() / count.sum()) == pytest.approx(1, abs=0.1)


def test_structure_factor_of_the_heat_equation():
    """<|u_k|^2> = n sigma^2 / dx / (2 (nu k^2 + mu)), mode by mode; 2,000 fields, four errors."""
    sigma = 0.3
    sim = StochasticHeat(noise=sigma, n=POINTS, dt=2.5, paths=2000).requires_grad_(False)
    u = torch.fft.rfft(sim(sim.state(), 4).values, norm="ortho")
    exact = sigma**2 / (2 * math.pi / POINTS) / (2 * _rates(sim.wavenumbers))
    torch.testing.assert_close(u.abs().square().mean(0), exact, rtol=0.13, atol=0)
    assert float((u.abs().square().mean(0) / exact).mean()) == pytest.approx(1, abs=0.025)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_strong_order_with_noise(equation):
    """One, on the same noise: root mean square off a run of 16 times as many steps."""
    finest, paths, until = 1024, 32, 0.5
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(finest, paths, 16, generator=generator, dtype=torch.float64)
    noise *= (until / finest) ** 0.5
    ends = {}
    for steps in (finest, 64, 16):
        sim = equation(noise=0.3, n=16, dt=until / steps, paths=paths).requires_grad_(False)
        coarse = noise.reshape(steps, -1, paths, 16).sum(1)
        ends[steps] = sim(sim.state(), steps, coarse).values
    errors = [float((ends[s] - ends[finest]).square().mean().sqrt()) for s in (16, 64)]
    assert math.log(errors[0] / errors[1]) / math.log(4) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("level", CIRCLES.values())
def test_rates_are_those_of_the_equation_without_noise(samples, level):
    """(u(h) - u(0)) / h, h = 1e-4, of smooth fields at the start: to 1e-3 of the rate."""
    name = next(key for key, value in CIRCLES.items() if value == level)
    cls = find("simulators", f"dynamics/{name}").load()
    sim = cls(n=POINTS, noise=0.0, dt=1e-4, paths=1).requires_grad_(False)
    some = [s for s in samples if s.id.startswith(name) and s.conditions["time"] == 0][:6]
    for sample in some:
        state = sim.state(sample)
        ahead = (sim(state, 1).values - state.values)[0] / 1e-4
        stored = torch.from_numpy(np.array(sample.labels["rate"], dtype=np.float64))
        off = (ahead - stored).norm() / stored.norm()
        assert float(off) < 1e-3


def test_derivatives_by_fourier():
    x = torch.arange(12, dtype=torch.float64) * 3.0 / 12
    k = 2 * math.pi / 3
    slope, bend = derivatives(torch.sin(k * x), 3.0)
    torch.testing.assert_close(slope, k * torch.cos(k * x))
    torch.testing.assert_close(bend, -(k**2) * torch.sin(k * x))


def test_what_a_circle_lacks_is_said(samples):
    encoder = find("encoders", "dynamics/circle").load()(channels=4)
    u = np.zeros(8)
    with pytest.raises(InputError, match="no positive condition 'length'"):
        encoder.tokenize(Sample(id="a", domain="dynamics", fields={"state": u}))
    with pytest.raises(InputError, match="n at least 4"):
        encoder.tokenize(
            Sample(id="a", domain="dynamics", fields={"state": u[:3]}, conditions={"length": 1.0})
        )
    with pytest.raises(InputError, match="a circle of length 3"):
        StochasticHeat(n=8).state(
            Sample(id="a", domain="dynamics", fields={"state": u}, conditions={"length": 3.0})
        )


@pytest.mark.slow
def test_the_fields_train_a_trunk(tmp_path):
    """Two steps from the recipe's door to a model that predicts rates."""
    recipe = parse(
        {
            "name": "fields",
            "model": {"size": "tiny"},
            "tasks": [{"dataset": "dynamics/dynamics-fields", "quantities": {"rate": 1}}],
            "training": {"steps": 2, "tokens_per_batch": 128, "validation_samples": 4},
        }
    )
    model = sfm.load(pretrain(recipe, tmp_path / "model", test_samples=4, log=False))
    assert list(model.config.encoders) == ["dynamics/circle"]
