"""Sparse identification of nonlinear dynamics: dx/dt = Theta(x) C with few terms.

Derivatives are not taken. Each window of a trajectory gives one equation of the weak form

    -int phi'(t) x(t) dt = sum_k C_k int phi(t) theta_k(x(t)) dt

with test functions phi = (1 - s^2)^p that vanish at the window's ends (Messenger and Bortz, 2021):
noise is averaged rather than amplified. Terms are found by sequentially thresholded least squares
(Brunton, Proctor and Kutz, 2016) on columns of equal size, so that a threshold means the same for
every term; intervals come from bootstrap ensembles of windows (Fasel et al., 2022).

S. L. Brunton, J. L. Proctor, J. N. Kutz, PNAS 113, 3932 (2016), doi:10.1073/pnas.1517384113;
D. A. Messenger, D. M. Bortz, Multiscale Model. Simul. 19, 1474 (2021), doi:10.1137/20M1343166;
U. Fasel et al., Proc. R. Soc. A 478, 20210904 (2022), doi:10.1098/rspa.2021.0904.

States, rates and times in the system's own units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Num

from sfm.errors import InputError
from sfm_dynamics.polynomials import PolynomialRates, Polynomials

TEST_POWER = 4  # p: phi and its first three derivatives vanish at the ends


@dataclass(frozen=True)
class Equation:
    """What was found: dx_i/dt = sum_k coefficients[k, i] term_k.

    Attributes:
        library: the candidate terms.
        coefficients: (terms, d); zero where a term is absent.
        low: (terms, d) lower end of the 95 % interval of the ensemble. high: its upper end.
        inclusion: (terms, d) share of the ensemble that kept the term.
        explained: (d,) share of the variance of the left-hand sides that the equation explains.
        time_unit: unit of time, `1` for none.
    """

    library: Polynomials
    coefficients: np.ndarray
    low: np.ndarray
    high: np.ndarray
    inclusion: np.ndarray
    explained: np.ndarray
    time_unit: str = "1"

    def coefficient(self, variable: str, term: str) -> float:
        """The coefficient of `term` in the rate of `variable`."""
        return float(
            self.coefficients[self.library.terms.index(term), self.library.names.index(variable)]
        )

    def lines(self, digits: int = 4) -> list[str]:
        """`dx/dt = -10 x + 10 y`, one line per variable."""
        equations = []
        for i, name in enumerate(self.library.names):
            kept = np.flatnonzero(self.coefficients[:, i])
            parts: list[str] = []
            for k in kept:
                value, term = self.coefficients[k, i], self.library.terms[k]
                sign = "-" if value < 0 else ("+" if parts else "")
                number = f"{abs(value):.{digits}g}"
                parts.append(f"{sign} {number}" + ("" if term == "1" else f" {term}"))
            text = " ".join(parts).strip() or "0"
            equations.append(
                f"d{name}/dt = {text.replace('- ', '-', 1) if text[0] == '-' else text}"
            )
        return equations

    def closure(self) -> PolynomialRates:
        """The equation as a closure of `dynamics/neural-ode`: runs, and trains on."""
        return PolynomialRates(self.library, self.coefficients)


def discover(
    times: Num[np.ndarray, " T"] | Sequence[Num[np.ndarray, " _"]],
    states: Num[np.ndarray, "T d"] | Sequence[Num[np.ndarray, "_ d"]],
    names: Sequence[str],
    *,
    degree: int = 2,
    threshold: float = 0.02,
    windows: int = 600,
    width: int | None = None,
    ensemble: int = 100,
    seed: int = 0,
    time_unit: str = "1",
) -> Equation:
    """The sparse equation that trajectories obey.

    Args:
        times: (T,) of one trajectory, or one array for each.
        states: (T, d) of one trajectory, or one array for each.
        names: (d,) of the variables.
        degree: highest degree of the candidate monomials.
        threshold: a term stays if its contribution is at least this share of the largest one in
            its equation (root mean square over the windows).
        windows: number of test functions, spread over all trajectories.
        width: samples in a window. It should cover a good part of the fastest oscillation and many
            samples of the noise; None: the lag at which the fastest variable's autocorrelation has
            fallen to a half, at least 9.
        ensemble: bootstrap members for the intervals; 0 for none.
        seed: of the ensemble.
        time_unit: for the report.

    Raises:
        InputError: too few samples, times that do not increase, values that are not finite, or a
            library larger than the number of windows.
    """
    library = Polynomials(tuple(names), degree)
    runs = _runs(times, states, len(library.names))
    left, right = _weak(runs, library, windows, width)
    if len(left) <= right.shape[1]:
        raise InputError(
            f"{len(left)} windows cannot decide between {right.shape[1]} terms; give more data, "
            "more windows or a lower degree"
        )
    return _equation(left, right, library, threshold, ensemble, seed, time_unit)


def explain(
    rates: Num[np.ndarray, " ..."],
    states: Num[np.ndarray, "n d"],
    names: Sequence[str],
    *,
    degree: int = 2,
    threshold: float = 0.1,
    ensemble: int = 100,
    seed: int = 0,
    time_unit: str = "1",
) -> Equation:
    """The sparse equation behind rates that are known at states, such as a closure's output.

    Args:
        rates: (n, d) at the states. states: (n, d).
        names: (d,) of the variables.
        degree: highest degree of the candidate monomials.
        threshold, ensemble, seed, time_unit: as of `discover`; rows take the place of windows.

    Raises:
        InputError: the shapes disagree, or there are more terms than states.
    """
    library = Polynomials(tuple(names), degree)
    if rates.shape != states.shape or states.shape[1:] != (len(library.names),):
        raise InputError(f"rates {rates.shape} at states {states.shape} of {library.names}")
    right = library.evaluate(states)
    if len(right) <= right.shape[1]:
        raise InputError(f"{len(right)} states cannot decide between {right.shape[1]} terms")
    return _equation(rates, right, library, threshold, ensemble, seed, time_unit)


def _equation(
    left: np.ndarray,
    right: np.ndarray,
    library: Polynomials,
    threshold: float,
    ensemble: int,
    seed: int,
    time_unit: str,
) -> Equation:
    """left (n, d) = right (n, terms) C, with the intervals of bootstrap members."""
    coefficients = _sparse(left, right, threshold)
    rng = np.random.default_rng(seed)
    members = [coefficients]
    for _ in range(ensemble):
        rows = rng.integers(len(left), size=len(left))
        members.append(_sparse(left[rows], right[rows], threshold))
    stack = np.stack(members[1:] or members)
    residual = left - right @ coefficients
    spread = np.maximum((left - left.mean(0)).var(0), 1e-300)
    return Equation(
        library,
        coefficients,
        np.quantile(stack, 0.025, axis=0),
        np.quantile(stack, 0.975, axis=0),
        (stack != 0).mean(0),
        1 - residual.var(0) / spread,
        time_unit,
    )


def _runs(
    times: np.ndarray | Sequence[np.ndarray], states: np.ndarray | Sequence[np.ndarray], d: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Times and states of each trajectory, checked."""
    one = isinstance(states, np.ndarray) and states.ndim == 2
    pairs = [(times, states)] if one else list(zip(times, states, strict=True))
    runs = []
    for number, (t, x) in enumerate(pairs):
        t, x = np.asarray(t, dtype=np.float64), np.asarray(x, dtype=np.float64)
        if x.shape != (len(t), d):
            raise InputError(
                f"trajectory {number + 1}: {len(t)} times, states {x.shape}, {d} names"
            )
        if len(t) < 9:
            raise InputError(f"trajectory {number + 1}: {len(t)} samples; at least 9 are needed")
        if not (np.isfinite(t).all() and np.isfinite(x).all()):
            raise InputError(f"trajectory {number + 1}: a value is not a finite number")
        if not (np.diff(t) > 0).all():
            raise InputError(f"trajectory {number + 1}: times do not increase")
        runs.append((t, x))
    return runs


def _weak(
    runs: Sequence[tuple[np.ndarray, np.ndarray]],
    library: Polynomials,
    windows: int,
    width: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Left (n, d) and right (n, terms) sides of the weak form, by the trapezoidal rule."""
    total = sum(len(t) for t, _ in runs)
    left, right = [], []
    for t, x in runs:
        size = min(len(t), max(9, _memory(x)) if width is None else max(5, width))
        count = max(2, round(windows * len(t) / total))
        theta = library.evaluate(x)
        for start in np.unique(np.linspace(0, len(t) - size, count).round().astype(int)):
            part = slice(start, start + size)
            phi, slope, weight = _test_function(t[part])
            left.append(-((weight * slope)[:, None] * x[part]).sum(0))
            right.append(((weight * phi)[:, None] * theta[part]).sum(0))
    return np.array(left), np.array(right)


def _memory(x: np.ndarray) -> int:
    """Samples after which the autocorrelation of the fastest variable of (T, d) is a half."""
    spectrum = np.abs(np.fft.rfft(x - x.mean(0), 2 * len(x), axis=0)) ** 2
    correlation = np.fft.irfft(spectrum, axis=0)[: len(x)]
    below = correlation < 0.5 * correlation[1]
    return int(np.where(below.any(0), below.argmax(0), len(x)).min())


def _test_function(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """phi, dphi/dt and the weights of the trapezoidal rule at the times of a window."""
    half, middle = 0.5 * (t[-1] - t[0]), 0.5 * (t[-1] + t[0])
    s = (t - middle) / half
    phi = (1 - s**2) ** TEST_POWER
    slope = -2 * TEST_POWER * s * (1 - s**2) ** (TEST_POWER - 1) / half
    steps = np.diff(t)
    weight = np.zeros_like(t)
    weight[:-1] += 0.5 * steps
    weight[1:] += 0.5 * steps
    return phi, slope, weight


def _sparse(left: np.ndarray, right: np.ndarray, threshold: float) -> np.ndarray:
    """(terms, d) sequentially thresholded least squares, each equation on its own."""
    size = np.sqrt((right**2).mean(0))
    size[size == 0] = 1.0
    scaled = right / size
    coefficients = np.zeros((right.shape[1], left.shape[1]))
    for i in range(left.shape[1]):
        kept = np.ones(right.shape[1], dtype=bool)
        for _ in range(right.shape[1]):
            values = np.zeros(right.shape[1])
            values[kept] = np.linalg.lstsq(scaled[:, kept], left[:, i], rcond=None)[0]
            now = kept & (np.abs(values) >= threshold * np.abs(values).max(initial=0.0))
            if (now == kept).all() or not now.any():
                break
            kept = now
        coefficients[:, i] = np.where(kept, values, 0.0) / size
    return coefficients
