"""Problems whose answers are published or exact, solved by the hub and by a classical method.

Run by `known_numbers.py`. `ours` and `classical` return numbers in the order of `reference`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import brentq, least_squares
from sfm_dynamics.discovery.sindy import discover, explain
from sfm_dynamics.model.backward import Slopes, solve
from sfm_dynamics.model.networks import Rates
from sfm_dynamics.model.trajectories import learn_trajectories
from sfm_dynamics.pinn.network import Pinn
from sfm_dynamics.pinn.training import train
from sfm_dynamics.simulators.backward import DeepBsde
from sfm_dynamics.simulators.backward_problems import PROBLEMS, RATE, SIGMA, STRIKE
from sfm_dynamics.simulators.chaos import Lorenz63
from sfm_dynamics.simulators.equilibrium import Equilibrium
from sfm_dynamics.simulators.universal import UniversalOde
from sfm_fluids.elements.eigen import laplace_eigenvalues
from sfm_fluids.elements.elasticity import Elasticity
from sfm_fluids.elements.mesh import l_shape

Numbers = Sequence[float]
SAMPLES, DIMENSIONS = 100_000, 100


@dataclass(frozen=True)
class Problem:
    """A problem with a known answer.

    Attributes:
        title: what is asked. reference: the answer. source: who says so.
        ours: seed -> answer. method: how.
        classical: -> answer by the method that one would use instead; None: there is none here.
        instead: that method.
        seeded: whether the seed matters.
        tolerance: largest relative error.
        test: that holds it to that, `file::function` below `plugins/`.
    """

    title: str
    reference: tuple[float, ...]
    source: str
    ours: Callable[[int], Numbers]
    method: str
    classical: Callable[[], Numbers] | None
    instead: str
    test: str
    seeded: bool = True
    tolerance: float = 0.01


def _lorenz(_: float, u: Numbers, sigma: float, rho: float, beta: float) -> list[float]:
    x, y, z = u
    return [sigma * (y - x), x * (rho - z) - y, x * y - beta * z]


def _run(times: np.ndarray, *parameters: float) -> np.ndarray:
    options = {"t_eval": times, "rtol": 1e-11, "atol": 1e-11, "args": parameters}
    states: np.ndarray = solve_ivp(_lorenz, (0, times[-1]), [-8, 7, 27], **options).y.T
    return states


def _lorenz_coefficients(seed: int) -> Numbers:
    times = np.arange(0, 50, 0.002)
    states = _run(times, 10, 28, 8 / 3)
    noise = np.random.default_rng(seed).standard_normal(states.shape)
    seen = states + 0.02 * states.std(0) * noise
    equation = discover(times, seen, ("x", "y", "z"), ensemble=20)
    terms = (("x", "y", 1), ("y", "x", 1), ("z", "z", -1))
    return [sign * equation.coefficient(a, b) for a, b, sign in terms]


INVERSE = np.linspace(0, 3, 25)


def _inverse_lorenz(seed: int) -> Numbers:
    states = torch.from_numpy(_run(INVERSE, 10, 15, 8 / 3).copy())
    sim: Any = Lorenz63(sigma=1.0, rho=1.0, beta=1.0)
    network = Pinn(states[0], 3.0, scale=states.std(0), features=3.0, seed=seed)
    data, free = (torch.from_numpy(INVERSE), states), list(sim.parameters())
    train(
        network,
        sim.field(),
        points=150,
        rounds=5,
        iterations=15,
        causality=0,
        data=data,
        parameters=free,
    )
    return [float(p.detach()) for p in (sim.sigma, sim.rho, sim.beta)]


def _inverse_lorenz_by_least_squares() -> Numbers:
    states = _run(INVERSE, 10, 15, 8 / 3)

    def off(p: np.ndarray) -> np.ndarray:
        run = solve_ivp(_lorenz, (0, 3), states[0], t_eval=INVERSE, rtol=1e-8, args=tuple(p))
        residual: np.ndarray = (run.y.T - states).ravel()
        return residual

    fit = least_squares(off, [1.0, 1.0, 1.0]).x
    return [float(x) for x in fit]


STARTS = ([0.44249296, 4.6280594], [1.0, 1.0], [3.0, 1.0], [2.0, 3.0])


def _populations(times: np.ndarray, a: float, b: float) -> np.ndarray:
    """(T, starts, 2) of Lotka and Volterra's equations; a, b: of the interaction."""

    def rates(_: float, u: Numbers) -> list[float]:
        return [1.3 * u[0] + a * u[0] * u[1], b * u[0] * u[1] - 1.8 * u[1]]

    options = {"t_eval": times, "rtol": 1e-10, "atol": 1e-12}
    return np.stack([solve_ivp(rates, (0, 3), s, **options).y.T for s in STARTS], 1)


def _seen_populations(seed: int) -> tuple[np.ndarray, np.ndarray]:
    times = np.linspace(0, 3, 31)
    states = _populations(times, -0.9, 0.8)
    noise = np.random.default_rng(seed).standard_normal(states.shape)
    return times, states + 0.005 * states.mean((0, 1)) * noise


def _missing_interaction(seed: int) -> Numbers:
    times, states = _seen_populations(seed)
    network = Rates(2, 16, seed=seed)
    sim = UniversalOde(closure=network, dt=0.1)
    sim.known.requires_grad_(False)
    seen = torch.from_numpy(times), torch.from_numpy(states)
    smooth = learn_trajectories(sim, *seen, iterations=200).reshape(-1, 2)
    with torch.no_grad():
        equation = explain(network(smooth).numpy(), smooth.numpy(), sim.names, ensemble=20)
    if np.count_nonzero(equation.coefficients) != 2:  # another form is no answer
        return [math.nan, math.nan]
    return [equation.coefficient(name, "prey predator") for name in sim.names]


def _interaction_by_least_squares() -> Numbers:
    times, states = _seen_populations(0)
    fit: np.ndarray = least_squares(
        lambda p: (_populations(times, *p) - states).ravel(), [-0.5, 0.5]
    ).x
    return [float(x) for x in fit]


SCALES = {"geometric-basket": 0.4, "burgers": 10.0}


def _in_a_hundred_dimensions(name: str, seed: int) -> Numbers:
    slopes = Slopes(DIMENSIONS, scale=SCALES.get(name, 1.0), seed=seed)
    return [solve(DeepBsde(problem=name, closure=slopes, seed=seed), iterations=300).value]


def _control_by_sampling() -> Numbers:
    """-ln E 2 / (1 + |sqrt(2) W|^2), Cole and Hopf's substitution."""
    w = np.random.default_rng(0).standard_normal((SAMPLES, DIMENSIONS))
    return [-math.log(float((2 / (1 + 2 * (w**2).sum(1))).mean()))]


def _call_by_sampling() -> Numbers:
    w = np.random.default_rng(0).standard_normal((SAMPLES, DIMENSIONS))
    mean = np.exp((RATE - 0.5 * SIGMA**2 + SIGMA * w).mean(1))
    return [math.exp(-RATE) * float(np.maximum(mean - STRIKE, 0).mean())]


def _front_on_a_line() -> Numbers:
    """The equation of the mean of x, by the method of lines."""
    m = np.linspace(-8, 8, 321)
    h = m[1] - m[0]

    def rates(_: float, u: np.ndarray) -> np.ndarray:
        bend = np.zeros_like(u)
        bend[1:-1] = (u[2:] - 2 * u[1:-1] + u[:-2]) / h**2
        slope: np.ndarray = np.gradient(u, h)
        rate: np.ndarray = 0.5 * bend + (u - 1.5) * slope
        return rate

    end = solve_ivp(rates, (0, 1), 1 / (1 + np.exp(-1 - m)), method="LSODA", rtol=1e-7).y[:, -1]
    return [float(end[160])]


def _cosine(_: int) -> Numbers:
    sim = Equilibrium().requires_grad_(False)
    return [float(sim(sim.state()).values)]


def _corner(_: int) -> Numbers:
    """Graded to the corner and extrapolated with h^4."""
    coarse, fine = (float(laplace_eigenvalues(l_shape(n, grading=3.0))[0]) for n in (32, 64))
    return [(16 * fine - coarse) / 15]


def _membrane(_: int) -> Numbers:
    sim = Elasticity(degree=2, cells=24).requires_grad_(False)
    return [float(sim.observe(sim(sim.state()))["tip_displacement"][1])]


def _bsde(name: str, title: str, source: str, **more: object) -> Problem:
    return Problem(
        title,
        (PROBLEMS[name].exact(DIMENSIONS),),
        source,
        partial(_in_a_hundred_dimensions, name),
        "`dynamics/deep-bsde`",
        test="dynamics/tests/test_dynamics_backward.py::test_values_in_a_hundred_dimensions",
        **more,  # type: ignore[arg-type]
    )


_TESTS = "dynamics/tests/test_dynamics_"
_ELEMENTS = "fluids/tests/test_fluids_elements.py::"
KNOWN = {
    "lorenz-coefficients": Problem(
        "Lorenz' 10, 28, 8/3 from a run with 2 % noise",
        (10.0, 28.0, 8 / 3),
        "put in; Brunton et al. (2016), doi:10.1073/pnas.1517384113",
        _lorenz_coefficients,
        "`sfm discover`",
        None,
        "the same method: pysindy has 9.981, 27.962, 2.6663 on the data of seed 0",
        f"{_TESTS}discovery.py::test_lorenz_coefficients_within_one_percent",
    ),
    "inverse-lorenz": Problem(
        "Lorenz' parameters from (1, 1, 1) and 25 states",
        (10.0, 15.0, 8 / 3),
        "put in; problem of DeepXDE, L. Lu et al., SIAM Rev. 63, 208 (2021)",
        _inverse_lorenz,
        "physics-informed network",
        _inverse_lorenz_by_least_squares,
        "least squares through RK45",
        f"{_TESTS}pinn.py::test_inverse_lorenz",
    ),
    "missing-interaction": Problem(
        "the missing interaction of Lotka and Volterra, 0.5 % noise",
        (-0.9, 0.8),
        "put in; problem of Rackauckas et al. (2020), arXiv:2001.04385",
        _missing_interaction,
        "universal equation, then SINDy",
        _interaction_by_least_squares,
        "least squares, the form known",
        f"{_TESTS}universal.py::test_the_missing_interaction_and_its_symbolic_form",
    ),
    "hamilton-jacobi-bellman": _bsde(
        "hamilton-jacobi-bellman",
        "Hamilton-Jacobi-Bellman, 100 dimensions",
        "published 4.5901, E, Han, Jentzen (2017), arXiv:1706.04702; here by quadrature",
        classical=_control_by_sampling,
        instead="Monte Carlo after Cole and Hopf, 10^5 samples",
        tolerance=0.001,
    ),
    "geometric-basket": _bsde(
        "geometric-basket",
        "call on the geometric mean of 100 shares",
        "exact: Black and Scholes (1973)",
        classical=_call_by_sampling,
        instead="Monte Carlo, 10^5 samples",
    ),
    "burgers-front": _bsde(
        "burgers",
        "front of Burgers' kind, 100 dimensions",
        "exact: Chassagneux (2014), SIAM J. Numer. Anal. 52, 2815",
        classical=_front_on_a_line,
        instead="method of lines, its symmetry known",
    ),
    "reaction-diffusion": _bsde(
        "reaction-diffusion",
        "oscillating reaction and diffusion, 100 dimensions",
        "exact: Gobet, Turkedjiev (2017), Stoch. Process. Appl. 127, 1171",
        classical=None,
        instead="none without its symmetry",
    ),
    "cosine": Problem(
        "x = cos x",
        (0.739085133215161,),
        "exact",
        _cosine,
        "`dynamics/equilibrium`",
        lambda: [float(brentq(lambda x: math.cos(x) - x, 0, 1, xtol=1e-15))],
        "Brent's method, without derivative",
        f"{_TESTS}equilibrium.py::test_x_equals_cos_x_with_gradient",
        seeded=False,
        tolerance=1e-10,
    ),
    "l-shape": Problem(
        "first eigenvalue of the L-shape",
        (9.6397238440219,),
        "Trefethen, Betcke, Contemp. Math. 395, 297 (2006)",
        _corner,
        "`sfm_fluids.elements`: is classical",
        None,
        "",
        f"{_ELEMENTS}test_the_first_eigenvalue_of_the_l_shape_to_eight_digits",
        seeded=False,
        tolerance=1.2e-8,
    ),
    "cooks-membrane": Problem(
        "Cook's membrane, rise of its right side",
        (23.96,),
        "quoted by the literature",
        _membrane,
        "`fluids/elasticity`: is classical",
        None,
        "",
        f"{_ELEMENTS}test_cooks_membrane",
        seeded=False,
        tolerance=4.2e-4,
    ),
}
