"""Parabolic equations in 100 dimensions against exact values."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import solve_ivp
from sfm_dynamics.model.backward import Slopes, solve
from sfm_dynamics.simulators.backward import DeepBsde
from sfm_dynamics.simulators.backward_problems import PROBLEMS
from torch import Tensor, nn

from sfm.errors import InputError

SCALES = {"hamilton-jacobi-bellman": 1.0, "geometric-basket": 0.4}
SCALES |= {"burgers": 10.0, "reaction-diffusion": 1.0}


def test_exact_values():
    """4.5901 of E, Han and Jentzen (2017), and a call by 200,000 samples of its mean's law."""
    assert PROBLEMS["hamilton-jacobi-bellman"].exact(100) == pytest.approx(4.5901, abs=1e-4)
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.exp(0.05 - 0.08 + 0.04 * normal)
    price = math.exp(-0.05) * (mean - 0.97).clamp_min(0).mean()
    assert PROBLEMS["geometric-basket"].exact(100) == pytest.approx(float(price), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "iterations", "tolerance"),
    [
        ("hamilton-jacobi-bellman", 300, 0.001),
        ("geometric-basket", 300, 0.01),
        ("burgers", 300, 0.01),
        ("reaction-diffusion", 300, 0.01),
    ],
)
def test_values_in_a_hundred_dimensions(problem, iterations, tolerance):
    """Within 1 % of the exact value; 0.1 % for Hamilton, Jacobi and Bellman."""
    sim = DeepBsde(problem=problem, closure=Slopes(100, scale=SCALES[problem]))
    solution = solve(sim, iterations=iterations)
    assert solution.value == pytest.approx(sim.equation.exact(100), rel=tolerance)


def test_no_two_seeds_share_a_path(monkeypatch):
    drawn: dict[int, set[int]] = {}
    forward = DeepBsde.forward

    def listening(self, state, steps=1, seed=None):
        drawn.setdefault(self.seed, set()).add(seed)
        return forward(self, state, steps, seed)

    monkeypatch.setattr(DeepBsde, "forward", listening)
    for seed in range(3):
        sim = DeepBsde(dim=2, paths=4, dt=0.5, seed=seed, closure=Slopes(2, width=4))
        solve(sim, iterations=5)
    assert [len(drawn[seed]) for seed in range(3)] == [9, 9, 9]  # 5 to learn from, 4 to judge by
    assert len(set.union(*drawn.values())) == 27


class _Exact(nn.Module):
    """Z of the burgers front, sigma u (1 - u) / d."""

    def forward(self, seen: Tensor) -> Tensor:
        t, x = seen[:, :1], seen[:, 1:]
        u = torch.sigmoid(t + x.mean(-1, keepdim=True))
        return (u * (1 - u) / x.shape[-1] * math.sqrt(x.shape[-1])).expand_as(x)


def test_the_exact_slope_leaves_no_mismatch():
    """Strong order 1/2: four times the steps halve the root mean square mismatch."""
    spread = []
    for steps in (20, 80):
        sim = DeepBsde(
            problem="burgers", dim=10, paths=4000, dt=1 / steps, value=0.5, closure=_Exact()
        ).requires_grad_(False)
        mismatch = sim.observe(sim(sim.state(), steps))["terminal_mismatch"]
        spread.append(float(mismatch.square().mean().sqrt()))
    assert spread[1] < 0.03
    assert math.log(spread[0] / spread[1]) / math.log(4) == pytest.approx(0.5, abs=0.15)


def test_burgers_front_solves_its_equation():
    """u = 1/2 at the start by the one-dimensional equation in m = mean(x), method of lines."""
    import numpy as np

    m = np.linspace(-8, 8, 321)
    h = m[1] - m[0]

    def rates(_, u):  # s = T - t; du/ds = u_mm / 2 + (u - 3/2) u_m
        slope, bend = np.gradient(u, h), np.zeros_like(u)
        bend[1:-1] = (u[2:] - 2 * u[1:-1] + u[:-2]) / h**2
        return 0.5 * bend + (u - 1.5) * slope

    end = solve_ivp(rates, (0, 1), 1 / (1 + np.exp(-1 - m)), method="LSODA", rtol=1e-7).y[:, -1]
    assert end[160] == pytest.approx(0.5, abs=1e-3)


def test_mistakes_are_said():
    with pytest.raises(InputError, match="dim=0 must be positive"):
        DeepBsde(dim=0)
    with pytest.raises(InputError, match="not one of"):
        DeepBsde(problem="heat")
