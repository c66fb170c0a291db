"""Fitting: known answers, the linear theory of errors, coverage, bounds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from sfm.errors import InputError
from sfm.quantity import Quantity
from sfm.simulate import Observations, Parameter, Simulator
from sfm.simulate.fit import Problem, fit


class State(NamedTuple):
    x: torch.Tensor
    v: torch.Tensor


class Oscillator(Simulator):
    """x'' = -k x - c x', leapfrog with many small steps would do; here its exact solution."""

    part = "test/oscillator"
    parameters_spec = (
        Parameter("stiffness", "1/second**2", 4.0, 0.1, 100.0),
        Parameter("damping", "1/second", 0.2, 0.0, 1.5),
        Parameter("unused", "1", 1.0),
    )
    observables = (Quantity("position", "metre"),)

    def state(self, sample=None):
        one = torch.ones((), dtype=self.dtype)
        return State(one, 0 * one)

    def forward(self, state, steps=1):
        return state

    def observe(self, state):
        return {"position": state.x}

    def predict_observations(self, observations):
        t = observations.options["times"]
        rate = self.damping / 2
        omega = torch.sqrt(self.stiffness - rate**2)
        x = torch.exp(-rate * t) * (torch.cos(omega * t) + rate / omega * torch.sin(omega * t))
        values = {"position": x}
        if "energy" in observations.values:
            values["energy"] = 1e3 * self.stiffness * x**2
        return values


class Once(torch.autograd.Function):
    """The identity, with a derivative that has none."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return slope.clone()


class OnceOscillator(Oscillator):
    def predict_observations(self, observations):
        predicted = super().predict_observations(observations)
        return {name: Once.apply(value) for name, value in predicted.items()}


TIMES = torch.linspace(0, 5, 40, dtype=torch.float64)


def measured(
    seed: int, noise: float, *, with_sigma: bool = False, energy: bool = False
) -> Observations:
    generator = torch.Generator().manual_seed(seed)
    truth = Oscillator(stiffness=6.0, damping=0.5)
    empty = {"position": TIMES, "energy": TIMES} if energy else {"position": TIMES}
    blank = Observations(state=None, values=empty, options={"times": TIMES})
    values = truth.predict_observations(blank)
    values = {
        k: v.detach()
        + noise
        * (1e3 if k == "energy" else 1)
        * torch.randn(40, generator=generator, dtype=torch.float64)
        for k, v in values.items()
    }
    sigma = {"position": noise} if with_sigma else {}
    return Observations(state=None, values=values, sigma=sigma, options={"times": TIMES})


def test_noiseless_data_give_the_truth():
    result = fit(Oscillator(), measured(0, 0.0), ["stiffness", "damping"])
    assert result.converged
    assert result.estimates["stiffness"].value == pytest.approx(6.0, abs=1e-8)
    assert result.estimates["damping"].value == pytest.approx(0.5, abs=1e-8)
    assert result.estimates["stiffness"].unit == "1/second**2"


def test_estimates_and_errors_equal_scipy():
    data = measured(1, 0.02)

    def model(t, k, c):
        rate = c / 2
        omega = np.sqrt(k - rate**2)
        return np.exp(-rate * t) * (np.cos(omega * t) + rate / omega * np.sin(omega * t))

    best, covariance = curve_fit(
        model, TIMES.numpy(), data.values["position"].numpy(), p0=(4.0, 0.2), xtol=1e-14, ftol=1e-14
    )
    result = fit(Oscillator(), data, ["stiffness", "damping"])
    estimates = [result.estimates[n] for n in ("stiffness", "damping")]
    assert [float(e.value) for e in estimates] == pytest.approx(best, rel=1e-6)
    assert result.covariance == pytest.approx(covariance, rel=1e-3)


@pytest.mark.parametrize("with_sigma", [True, False])
def test_95_percent_intervals_cover_95_percent(with_sigma):
    runs, inside, near = 60, 0, 0
    for seed in range(runs):
        data = measured(100 + seed, 0.05, with_sigma=with_sigma)
        estimate = fit(Oscillator(), data, ["stiffness", "damping"]).estimates["stiffness"]
        inside += int(estimate.low <= 6.0 <= estimate.high)
        near += int(abs(estimate.value - 6.0) <= (estimate.high - estimate.low) / 4)
    # three standard deviations of a binomial of 60 at 0.95: 0.95 +- 0.085
    assert inside / runs == pytest.approx(0.95, abs=0.085)
    # and the inner half of the interval (0.98 standard errors) covers 67 %: it is not too wide
    assert near / runs == pytest.approx(0.67, abs=0.18)


def test_two_quantities_of_different_units_are_weighed_by_their_residuals():
    alone = fit(Oscillator(), measured(3, 0.05), ["stiffness", "damping"])
    both = fit(Oscillator(), measured(3, 0.05, energy=True), ["stiffness", "damping"])
    assert both.sigma["energy"] == pytest.approx(1e3 * 0.05, rel=0.4)
    assert both.sigma["position"] == pytest.approx(0.05, rel=0.4)
    assert both.estimates["stiffness"].standard_error < alone.estimates["stiffness"].standard_error


def test_a_bound_holds_and_is_told():
    truth = Oscillator(stiffness=6.0, damping=1.5)
    blank = Observations(state=None, values={"position": TIMES}, options={"times": TIMES})
    x = truth.predict_observations(blank)["position"].detach() * torch.exp(-0.3 * TIMES)
    data = Observations(state=None, values={"position": x}, options={"times": TIMES})
    result = fit(Oscillator(), data, ["stiffness", "damping"])
    assert result.estimates["damping"].value == 1.5
    assert any("at its bound" in w for w in result.warnings)


def test_a_parameter_without_influence_is_told():
    result = fit(Oscillator(), measured(5, 0.01), ["stiffness", "unused"])
    assert np.isnan(result.estimates["unused"].standard_error)
    assert any("does not influence" in w for w in result.warnings)


def test_the_simulator_is_left_alone():
    simulator = Oscillator()
    fit(simulator, measured(5, 0.01), ["stiffness"])
    assert simulator.stiffness.item() == 4.0


def test_the_three_ways_to_a_jacobian_agree():
    problem = Problem(Oscillator(), measured(6, 0.01), ["stiffness", "damping"])
    value, forward = problem._forward_mode(problem.start)
    again, reverse = problem._double_reverse(problem.start)
    torch.testing.assert_close(value, again, rtol=0, atol=1e-14)
    torch.testing.assert_close(forward, reverse, rtol=1e-10, atol=1e-12)
    # where the simulation can be differentiated only once: a reverse sweep per observation
    once = Problem(OnceOscillator(), measured(6, 0.01), ["stiffness", "damping"])
    value, sweeps = once.jacobian(once.start)
    torch.testing.assert_close(value, again, rtol=0, atol=1e-14)
    torch.testing.assert_close(sweeps, reverse, rtol=1e-10, atol=1e-12)
    with pytest.raises((NotImplementedError, RuntimeError)):
        once._forward_mode(once.start)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["stifness"], "Did you mean 'stiffness'"), ([], "at least one parameter")],
)
def test_wrong_names_are_one_line(names, said):
    with pytest.raises(InputError, match=said):
        fit(Oscillator(), measured(0, 0.0), names)


def test_fewer_observations_than_parameters():
    one = Observations(state=None, values={"position": TIMES[:2]}, options={"times": TIMES[:2]})
    with pytest.raises(InputError, match="cannot determine"):
        fit(Oscillator(), one, ["stiffness", "damping"])
