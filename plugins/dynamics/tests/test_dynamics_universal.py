"""Universal equations: a missing interaction found through the solver, and written down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sfm_dynamics.discovery.sindy import explain
from sfm_dynamics.model.networks import Rates
from sfm_dynamics.model.trajectories import learn_trajectories
from sfm_dynamics.polynomials import read_equations
from sfm_dynamics.simulators.chaos import Lorenz63
from sfm_dynamics.simulators.learned import NeuralOde
from sfm_dynamics.simulators.universal import UniversalOde

from sfm.errors import InputError

SLOW = pytest.mark.slow  # the three seeds together need more than a test of every day should


def populations(noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rackauckas et al. (2020): alpha 1.3, beta 0.9, gamma 0.8, delta 1.8, 31 samples of 3 units.

    Four starts, the first of which is theirs: one arc does not tell x y from y^2 and others.
    """
    times = np.linspace(0, 3, 31)

    def rates(_, u):
        return [1.3 * u[0] - 0.9 * u[0] * u[1], 0.8 * u[0] * u[1] - 1.8 * u[1]]

    runs = [
        solve_ivp(rates, (0, 3), start, t_eval=times, rtol=1e-10, atol=1e-12).y.T
        for start in ([0.44249296, 4.6280594], [1.0, 1.0], [3.0, 1.0], [2.0, 3.0])
    ]
    states = np.stack(runs, 1)
    rng = np.random.default_rng(seed)
    return times, states + noise * states.mean((0, 1)) * rng.standard_normal(states.shape)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=SLOW), pytest.param(2, marks=SLOW)])
def test_the_missing_interaction_and_its_symbolic_form(seed):
    """-0.9 x y and 0.8 x y from samples with 0.5 % noise; nothing else, within 1 %."""
    times, states = populations(0.005, seed)
    network = Rates(2, 16, seed=seed)
    sim = UniversalOde(closure=network, dt=0.1)
    sim.known.requires_grad_(False)
    smooth = learn_trajectories(
        sim, torch.from_numpy(times), torch.from_numpy(states), iterations=200
    ).reshape(-1, 2)
    with torch.no_grad():
        equation = explain(network(smooth).numpy(), smooth.numpy(), sim.names, ensemble=20)
    assert np.count_nonzero(equation.coefficients) == 2
    assert equation.coefficient("prey", "prey predator") == pytest.approx(-0.9, rel=0.01)
    assert equation.coefficient("predator", "prey predator") == pytest.approx(0.8, rel=0.01)
    assert equation.explained.min() > 0.999


def test_printed_equations_run_and_are_those_of_lorenz():
    text = "dx/dt = -10 x + 10 y; dy/dt = 28x - y - x z\ndz/dt = -2.6666666666666665 z + x*y"
    sim = UniversalOde(equations=text, dt=0.01).requires_grad_(False)
    known = Lorenz63(dt=0.01).requires_grad_(False)
    torch.testing.assert_close(sim(sim.at(known.state().values), 50), known(known.state(), 50))
    assert sim.names == ("x", "y", "z")
    closed = NeuralOde(n=3, closure=read_equations(text), dt=0.01)
    torch.testing.assert_close(
        closed(closed.at(known.state().values), 50).values, known(known.state(), 50).values
    )
    assert sim.known.count_nonzero() == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 2", "'x = 2' is no equation"),
        ("dx/dt = 2 x; dx/dt = x", "dx/dt has two equations"),
        ("dprey/dt = prey pray", "names 'pray', .* Did you mean 'prey'"),
        ("dx/dt = sin(x)", r"'sin\(x\)' is no term"),
        ("dx/dt = x^99", "degree above 20"),
        ("dx/dt = x + ", "is no term"),
        ("", "no equation"),
    ],
)
def test_equations_that_are_none_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        UniversalOde(equations=text)
