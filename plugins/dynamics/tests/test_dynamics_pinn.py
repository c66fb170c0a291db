"""Physics-informed networks: hard starts, exact derivatives, high frequencies, inverse Lorenz."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from sfm_dynamics.minimise import least_squares
from sfm_dynamics.pinn.network import Pinn
from sfm_dynamics.pinn.training import train
from sfm_dynamics.simulators.informed import Informed

from sfm.errors import InputError, RunError

OMEGA = 2 * math.pi * 5  # five periods in the unit of time


def oscillator(x: torch.Tensor) -> torch.Tensor:
    return torch.stack((OMEGA * x[..., 1], -OMEGA * x[..., 0]), -1)


def test_the_start_holds_and_the_derivative_is_that_of_the_network():
    start = torch.tensor([0.3, -2.0], dtype=torch.float64)
    network = Pinn(start, 2.0, width=8, features=2.0, windows=2, seed=3).requires_grad_(False)
    times = torch.tensor([0.0, 0.4, 0.7, 1.3, 1.9], dtype=torch.float64)
    assert torch.equal(network.at(times)[0], start)
    tau = torch.tensor([[0.3], [0.8]], dtype=torch.float64)
    x, dx = network(tau)
    h = 1e-6
    places = tau[:, 0] + torch.arange(2)
    difference = (network.at(places + h) - network.at(places - h)) / (2 * h)
    torch.testing.assert_close(network.at(places), x[:, 0])
    torch.testing.assert_close(dx[:, 0], difference, rtol=1e-6, atol=1e-8)


def test_least_squares_solves_rosenbrock():
    """(1, 1), where gradient descent crawls along the valley."""
    x = torch.tensor([-1.2, 1.0], dtype=torch.float64, requires_grad=True)
    rest = least_squares(lambda: torch.stack((10 * (x[1] - x[0] ** 2), 1 - x[0])), [x], 50)
    torch.testing.assert_close(x.detach(), torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert rest < 1e-12


def test_steps_that_lead_nowhere_leave_the_weights_as_they_were():
    """No step from 0 is better: beyond it a residual is not a number."""
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    assert least_squares(lambda: 1 + x.where(x.abs() < 1e-12, x / 0), [x], 5) == 1.0
    assert torch.equal(x.detach(), torch.zeros(1, dtype=torch.float64))
    with pytest.raises(RunError, match="not finite at the start"):
        least_squares(lambda: x / 0, [x], 5)


@pytest.mark.parametrize(
    ("options", "solved"),
    [({}, False), ({"features": 5.0}, True), ({"windows": 5, "width": 12}, True)],
    ids=["plain", "fourier", "windows"],
)
def test_high_frequencies_need_features_or_windows(options, solved):
    """Five periods: the plain network's known failure, with the same points and training.

    S. Wang, H. Wang, P. Perdikaris, Comput. Methods Appl. Mech. Eng. 384, 113938 (2021); windows as
    in B. Moseley, A. Markham, T. Nissen-Meyer, Adv. Comput. Math. 49, 62 (2023).
    """
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    network = Pinn(start, 1.0, **{"width": 24, **options})
    train(network, oscillator, points=150 // network.windows, rounds=1, iterations=60, causality=0)
    times = torch.linspace(0, 1, 301, dtype=torch.float64)
    exact = torch.cos(OMEGA * times)
    error = (network.at(times)[:, 0].detach() - exact).norm() / exact.norm()
    assert float(error) < 0.02 if solved else float(error) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_inverse_lorenz(seed, monkeypatch):
    """10, 15 and 8/3 from (1, 1, 1) and 25 states, within 1 %.

    The problem of L. Lu et al., DeepXDE, SIAM Rev. 63, 208 (2021).
    """
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    from known_problems import KNOWN

    values = KNOWN["inverse-lorenz"].ours(seed)
    assert values == pytest.approx([10, 15, 8 / 3], rel=0.01)


def test_the_simulator_solves_a_system_and_says_when_it_has_not(tmp_path):
    sim = Informed(span=2.0, windows=1, points=30)
    first = sim.state()
    assert not sim.converged(first)
    assert "residual is above" in sim.warnings(first)[0]
    run = sim.run(first, 3, every=3)
    assert run.converged
    from sfm_dynamics.simulators.reactions import LotkaVolterra

    other = LotkaVolterra(dt=2.0, method="dopri5").requires_grad_(False)
    end = other(other.state()).values
    torch.testing.assert_close(run.observables["state"][-1, -1], end, rtol=2e-3, atol=0)
    sim.plot(run, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
    with pytest.raises(InputError, match="not one of"):
        Informed(system="lorenz")
    with pytest.raises(InputError, match="span=0"):
        Informed(span=0.0)
