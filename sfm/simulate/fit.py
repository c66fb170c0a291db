"""Estimating a simulator's parameters from observations: weighted nonlinear least squares.

Minimise |r|^2 with r_i = (observed_i - predicted_i) / sigma_i by Levenberg and Marquardt's method
(Marquardt 1963, doi:10.1137/0111030; scaling of More 1978), with exact derivatives of the whole
simulation. Bounds are kept by projection. At the minimum

    covariance = (J^T J)^-1 s^2,   s^2 = |r|^2 / (n - p)

where s^2 = 1 if the standard errors sigma of the observations are given. Where they are not, sigma
is one number per quantity and is estimated from the residuals, in turns with the parameters.
Whatever else the observations leave unknown, such as the initial state, is estimated too and widens
the standard errors (`sfm.simulate.fit_profile`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError, RunError
from sfm.simulate.base import Observations, Simulator
from sfm.simulate.fit_problem import Problem
from sfm.simulate.fit_profile import Profiled

Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Estimate:
    """One parameter.

    Attributes:
        name: as in `parameters_spec`.
        unit: its unit.
        value: best estimate, of the parameter's shape.
        standard_error: of the estimate; NaN where the data say nothing, 0 at a bound.
        low: lower end of the 95% interval.
        high: upper end of the 95% interval.
    """

    name: str
    unit: str
    value: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class FitResult:
    """A fit.

    Attributes:
        estimates: by parameter name.
        covariance: (p, p) of all parameters, in the order of `estimates`, flattened.
        residual_rms: root mean square of observed minus predicted, by quantity, in its unit.
        sigma: standard error of one observation that was used, by quantity.
        n_observations: how many numbers were fitted.
        iterations: of Levenberg-Marquardt, in all rounds.
        converged: whether the last round converged.
        warnings: what the user should know.
        unknowns: best estimates of `observations.unknowns`, by name.
    """

    estimates: Mapping[str, Estimate]
    covariance: np.ndarray
    residual_rms: Mapping[str, float]
    sigma: Mapping[str, float]
    n_observations: int
    iterations: int
    converged: bool
    warnings: tuple[str, ...] = ()
    unknowns: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass
class _Step:
    flat: Tensor
    prediction: Tensor
    jacobian: Tensor
    iterations: int
    converged: bool


def fit(
    simulator: Simulator,
    observations: Observations,
    names: Sequence[str],
    *,
    max_iterations: int = 50,
    tolerance: float = 1e-9,
    progress: Progress | None = None,
) -> FitResult:
    """Estimate the named parameters; the simulator itself is left as it was.

    Args:
        simulator: its present parameter values are the start.
        observations: from `simulator.read_observations`, or made by hand.
        names: parameters of `parameters_spec` to estimate; the others stay.
        max_iterations: of one round.
        tolerance: relative change of the parameters and of the sum of squares that ends a round.
        progress: called with the iteration and the weighted sum of squares.

    Raises:
        InputError: an unknown parameter, or fewer observations than parameters.
        RunError: the simulation is not finite at the start.
    """
    kind = Profiled if observations.unknowns else Problem
    problem = kind(simulator, observations, names)
    known = all(key in observations.sigma for key in problem.keys)
    sigma = _start_sigma(problem, observations)
    rounds = 1 if known or len(problem.keys) == 1 else 4
    flat, iterations = problem.start.clone(), 0
    step: _Step | None = None
    for _ in range(rounds):
        problem.weigh(sigma)
        step = _minimise(problem, flat, sigma[problem.group], max_iterations, tolerance, progress)
        iterations += step.iterations
        flat = step.flat
        if not known:
            sigma = _residual_sigma(problem, step, observations, sigma)
    assert step is not None
    return _report(problem, step, sigma, known, iterations)


def _start_sigma(problem: Problem, observations: Observations) -> Tensor:
    """(quantities,) given standard errors; else the spread of the data."""
    values = []
    for number, key in enumerate(problem.keys):
        observed = problem.observed[problem.group == number]
        spread = float(observed.std()) if len(observed) > 1 else 0.0
        guess = spread or float(observed.abs().max()) or 1.0
        values.append(float(observations.sigma.get(key, guess)))
    if not all(v > 0 and np.isfinite(v) for v in values):
        raise InputError(f"standard errors must be positive numbers, not {values}")
    return torch.tensor(values).to(problem.observed)


def _residual_sigma(
    problem: Problem, step: _Step, observations: Observations, sigma: Tensor
) -> Tensor:
    residual = problem.observed - step.prediction
    n, p = len(residual), len(step.flat) + len(problem.fields)
    new = sigma.clone()
    for number, key in enumerate(problem.keys):
        if key not in observations.sigma:
            residuals = residual[problem.group == number]
            rms = float(residuals.square().mean().sqrt()) * (n / (n - p)) ** 0.5
            # residuals at the level of rounding: keep the weights finite
            new[number] = max(rms, 1e-12 * float(problem.observed.abs().max()), 1e-300)
    return new


def _minimise(
    problem: Problem,
    flat: Tensor,
    sigma: Tensor,
    max_iterations: int,
    tolerance: float,
    progress: Progress | None,
) -> _Step:
    prediction, jacobian = problem.jacobian(flat)
    if not bool(torch.isfinite(prediction).all()):
        raise RunError("the simulation is not finite at the start: begin elsewhere with --set")
    cost = float(((problem.observed - prediction) / sigma).square().sum())
    damping, converged, iteration = 1e-3, False, 0
    for iteration in range(1, max_iterations + 1):
        weighted = jacobian / sigma.unsqueeze(1)
        residual = (problem.observed - prediction) / sigma
        gradient = weighted.T @ residual
        held = ((flat <= problem.low) & (gradient < 0)) | ((flat >= problem.high) & (gradient > 0))
        normal = weighted.T @ weighted
        improved = False
        for _ in range(12):
            trial = _trial(problem, flat, normal, gradient, damping, held)
            if torch.equal(trial, flat):
                break
            value = problem.value(trial)
            new_cost = float(((problem.observed - value) / sigma).square().sum())
            if np.isfinite(new_cost) and new_cost <= cost:
                improved = True
                break
            damping *= 4
        if not improved:  # no step goes down: a minimum to rounding
            converged = True
            break
        change = float(((trial - flat).abs() / (flat.abs() + trial.abs() + 1e-300)).max())
        drop = (cost - new_cost) / max(cost, 1e-300)
        flat, cost, damping = trial, new_cost, max(damping / 5, 1e-12)
        prediction, jacobian = problem.jacobian(flat)
        if progress is not None:
            progress(iteration, cost)
        if change < tolerance or (drop < tolerance and change < 1e-5) or cost < 1e-24:
            converged = True
            break
    return _Step(flat, prediction, jacobian, iteration, converged)


def _trial(
    problem: Problem,
    flat: Tensor,
    normal: Tensor,
    gradient: Tensor,
    damping: float,
    held: Tensor,
) -> Tensor:
    """One damped Gauss-Newton step, projected onto the bounds; held parameters stay."""
    free = torch.nonzero(~held).squeeze(1)
    if not len(free):
        return flat
    a = normal[free][:, free]
    diagonal = torch.diagonal(a)
    diagonal = diagonal.clamp_min(1e-14 * float(diagonal.max()) + 1e-300)
    scale = diagonal.rsqrt()
    scaled = a * scale.unsqueeze(0) * scale.unsqueeze(1) + damping * torch.eye(len(free)).to(a)
    step = scale * torch.linalg.lstsq(scaled, (scale * gradient[free]).unsqueeze(1)).solution[:, 0]
    trial = flat.clone()
    trial[free] = flat[free] + step
    return torch.minimum(torch.maximum(trial, problem.low), problem.high)


def _report(
    problem: Problem, step: _Step, sigma: Tensor, known: bool, iterations: int
) -> FitResult:
    n, p = len(problem.observed), len(step.flat) + len(problem.fields)
    per_row = sigma[problem.group]
    residual = problem.observed - step.prediction
    chi2 = float((residual / per_row).square().sum())
    weighted = (step.jacobian / per_row.unsqueeze(1)).double()
    at_bound = (step.flat <= problem.low) | (step.flat >= problem.high)
    covariance, blind = _covariance(weighted, at_bound)
    if not known:
        covariance = covariance * (chi2 / (n - p))
    error = covariance.diagonal().clamp_min(0).sqrt()
    error[blind] = torch.nan
    half = _quantile(None if known else n - p) * error
    value = step.flat.double()
    low = torch.maximum(value - half, problem.low.double())
    high = torch.minimum(value + half, problem.high.double())
    estimates, start, said = {}, 0, []
    for spec, shape, size in zip(problem.specs, problem.shapes, problem.sizes, strict=True):
        part = slice(start, start := start + size)
        columns = [_shaped(t[part], shape) for t in (value, error, low, high)]
        estimates[spec.name] = Estimate(spec.name, spec.unit, *columns)
        if bool(blind[part].any()):
            said.append(f"'{spec.name}' does not influence these observations")
        elif bool(at_bound[part].any()):
            said.append(
                f"'{spec.name}' is at its bound [{spec.low:g}, {spec.high:g}]: its standard error "
                "is not meaningful there"
            )
    if not step.converged:
        said.append(f"did not converge in {iterations} iterations: give --max-iterations more")
    if known and n > p and not 0.3 < chi2 / (n - p) < 3:
        said.append(f"residuals are {(chi2 / (n - p)) ** 0.5:.2g} times the stated standard errors")
    rms = {
        key: float(residual[problem.group == i].square().mean().sqrt())
        for i, key in enumerate(problem.keys)
    }
    return FitResult(
        estimates=estimates,
        covariance=covariance.numpy(),
        residual_rms=rms,
        sigma=dict(zip(problem.keys, sigma.tolist(), strict=True)),
        n_observations=n,
        iterations=iterations,
        converged=step.converged,
        warnings=tuple(said),
        unknowns={k: v.cpu().numpy() for k, v in problem.named(problem.fields).items()},
    )


def _covariance(weighted: Tensor, at_bound: Tensor) -> tuple[Tensor, Tensor]:
    """(J^T J)^-1 of the free parameters, and which parameters the data do not see."""
    p = weighted.shape[1]
    norms = torch.linalg.vector_norm(weighted, dim=0)
    blind = norms <= 1e-13 * norms.max().clamp_min(1e-300)
    free = torch.nonzero(~blind & ~at_bound).squeeze(1)
    covariance = torch.zeros(p, p, dtype=torch.float64)
    if len(free):
        scaled = weighted[:, free] / norms[free]
        inverse = torch.linalg.pinv(scaled.T @ scaled, hermitian=True)
        covariance[free.unsqueeze(1), free] = inverse / torch.outer(norms[free], norms[free])
    return covariance, blind


def _quantile(freedom: int | None) -> float:
    """97.5% point of Student's t, of the normal distribution for None."""
    from scipy import stats

    return float(stats.norm.ppf(0.975) if freedom is None else stats.t.ppf(0.975, freedom))


def _shaped(flat: Tensor, shape: Any) -> np.ndarray:
    return flat.reshape(shape).detach().cpu().numpy()
