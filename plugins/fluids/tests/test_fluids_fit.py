"""`sfm fit` on flows: viscosity and drag from noisy snapshots, with intervals that are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sfm_fluids.periodic.burgers import Burgers
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.spectral.coefficients import Coefficients
from sfm_fluids.spectral.grid_2d import Grid, velocity

from sfm.errors import InputError
from sfm.simulate.fit import FitResult, fit
from sfm.simulate.fit_profile import Profiled

TRUTH = {"viscosity": 0.03, "drag": 0.2}
NOISE = 0.1
CASE = {"grid": 8, "dt": 0.3, "stepper": "etdrk2", "forcing_wavenumber": 1}


def clean() -> tuple[np.ndarray, np.ndarray]:
    """Velocity (4, 2, 8, 8) and times (4,) of a flow with the true parameters."""
    truth = NavierStokes2D(**CASE, **TRUTH, seed=3)
    with torch.no_grad():
        run = truth.run(truth.state(), 3, every=1)
    return run.observables["velocity"][:, 0].numpy(), run.times.numpy()


def measured(path, seed: int, *, known_start: bool, sigma: float | None) -> None:
    """Noisy snapshots; without a known start the first is as noisy as the others."""
    field, times = clean()
    noisy = field + NOISE * np.random.default_rng(seed).standard_normal(field.shape)
    arrays = {"velocity": noisy, "times": times}
    if known_start:
        arrays = {"velocity": noisy[1:], "times": times[1:], "initial_velocity": field[0]}
    np.savez(path, **arrays, **({} if sigma is None else {"sigma": np.array(sigma)}))


def estimate(path) -> FitResult:
    simulator = NavierStokes2D(**CASE, viscosity=0.04, drag=0.15)
    return fit(simulator, simulator.read_observations(path), list(TRUTH), tolerance=1e-5)


def test_coefficients_are_orthonormal_and_complete():
    generator = torch.Generator().manual_seed(0)
    for grid in (Grid(8, 8), Grid(9, 12, 1.0, 3.0)):
        basis = Coefficients(grid)
        z = torch.randn(3, len(basis), generator=generator, dtype=torch.float64)
        omega, mean = basis.unpack(z)
        assert (basis.pack(omega, mean) - z).abs().max() < 1e-13
        size = velocity(omega, grid, mean).square().sum((1, 2, 3))
        assert torch.allclose(size, z.square().sum(1), rtol=1e-13)
        # all modes that the 2/3 rule keeps: 2 x 2 K + 1 of each axis, the mean flow twice
        kept = [2 * ((n - 1) // 3) + 1 for n in grid.shape]
        assert len(basis) == kept[0] * kept[1] + 1


@pytest.mark.slow
@pytest.mark.parametrize("known_start", [True, False])
def test_95_percent_intervals_cover_95_percent(tmp_path, known_start):
    """Over noisy data sets, with the start given, and with a start that is as noisy as the rest."""
    runs = 20
    inside, near = dict.fromkeys(TRUTH, 0), dict.fromkeys(TRUTH, 0)
    for seed in range(runs):
        path = tmp_path / "seen.npz"
        measured(path, seed, known_start=known_start, sigma=NOISE if seed % 2 else None)
        result = estimate(path)
        assert result.converged
        assert result.warnings == ()
        for name, true in TRUTH.items():
            fitted = result.estimates[name]
            inside[name] += int(fitted.low <= true <= fitted.high)
            near[name] += int(abs(fitted.value - true) <= (fitted.high - fitted.low) / 4)
    for name in TRUTH:
        # central 99.8 % of a binomial of 20: at 0.95 from 15 on, and for the inner half of the
        # interval (0.98 standard errors), at 0.673, from 7 to 19: neither too narrow nor too wide
        low, high = (stats.binom.ppf(q, runs, 0.673) for q in (0.001, 0.999))
        assert stats.binom.ppf(0.001, runs, 0.95) <= inside[name], inside
        assert low <= near[name] <= high, near


def test_a_noisy_start_taken_as_exact_would_mislead(tmp_path):
    """The fit finds a start nearer to the true one than the snapshot, and says it knows less."""
    path = tmp_path / "seen.npz"
    measured(path, 1, known_start=False, sigma=NOISE)
    free = estimate(path)
    start = free.unknowns["initial_velocity"]
    basis = Coefficients(Grid(8, 8))
    simulator = NavierStokes2D(**CASE)
    exact = simulator.from_velocity(torch.from_numpy(clean()[0][0]))
    true = basis.pack(exact.vorticity[0], exact.mean_velocity[0]).numpy()
    first = simulator.read_observations(path).unknowns["initial_velocity"].numpy()
    assert np.linalg.norm(start - true) < 0.8 * np.linalg.norm(first - true)
    measured(path, 1, known_start=True, sigma=NOISE)
    given = estimate(path)
    for name in TRUTH:
        assert free.estimates[name].standard_error > given.estimates[name].standard_error


def test_errors_with_an_unknown_start_equal_those_of_all_unknowns_together(tmp_path):
    """Projection against the inverse of the whole Gauss-Newton matrix, by finite differences."""
    path = tmp_path / "seen.npz"
    measured(path, 2, known_start=False, sigma=NOISE)
    simulator = NavierStokes2D(**CASE, viscosity=0.04, drag=0.15)
    result = fit(simulator, simulator.read_observations(path), list(TRUTH))
    problem = Profiled(simulator, simulator.read_observations(path), list(TRUTH))
    theta = torch.tensor([float(result.estimates[n].value) for n in TRUTH], dtype=torch.float64)
    z = torch.from_numpy(result.unknowns["initial_velocity"])
    whole, columns = torch.cat((theta, z)), []
    for i in range(len(whole)):
        shift = torch.zeros_like(whole)
        shift[i] = 1e-5
        ends = [problem.predict(p[:2], p[2:]).detach() for p in (whole + shift, whole - shift)]
        columns.append((ends[0] - ends[1]) / 2e-5)
    slopes = torch.stack(columns, 1) / NOISE
    covariance = torch.linalg.inv(slopes.T @ slopes)[:2, :2]
    assert result.covariance == pytest.approx(covariance.numpy(), rel=0.01)
    residual = (problem.observed - problem.predict(theta, z).detach()) / NOISE
    # at the minimum no unknown can improve: gradients within 1e-3 of what noise makes them
    assert (slopes.T @ residual / slopes.norm(dim=0)).abs().max() < 2e-3


def test_unusable_snapshots_are_one_line(tmp_path):
    field, times = clean()
    path = tmp_path / "seen.npz"
    simulator = NavierStokes2D(**CASE)
    for arrays, said in (
        ({"velocity": field}, "no dataset 'times'"),
        ({"velocity": field[:1], "times": times[:1]}, "one snapshot only"),
        ({"velocity": np.stack((field, field), 1), "times": times}, "holds 2 flows"),
        ({"velocity": field, "times": times, "length_x": 1.0}, "length_x is 1 there"),
        ({"velocity": field, "times": times * 1.01}, "no multiples of dt"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(InputError, match=said):
            simulator.read_observations(path)
    np.savez(path, velocity=np.zeros((2, 2, 128, 128)), times=np.array([0, 0.3]))
    fine = NavierStokes2D(**{**CASE, "grid": 128})
    with pytest.raises(InputError, match=r"initial_velocity \(7226 unknown numbers\)"):
        fit(fine, fine.read_observations(path), ["drag"])


def test_burgers_viscosity_from_fields_that_are_all_noisy(tmp_path):
    """Over noisy data sets the errors are as large as the standard errors say."""
    truth = Burgers(points=24, dt=0.2, viscosity=0.1, stepper="etdrk2")
    with torch.no_grad():
        run = truth.run(truth.state(), 2, every=1)
    field, scores = run.observables["velocity"][:, 0].numpy(), []
    for seed in range(12):
        noisy = field + 0.02 * np.random.default_rng(seed).standard_normal(field.shape)
        np.savez(tmp_path / "seen.npz", velocity=noisy, times=run.times, sigma=np.array(0.02))
        guess = Burgers(points=24, dt=0.2, viscosity=0.15, stepper="etdrk2")
        seen = guess.read_observations(tmp_path / "seen.npz")
        result = fit(guess, seen, ["viscosity"], tolerance=1e-5)
        assert result.converged
        assert len(result.unknowns["initial_velocity"]) == 2 * 7 + 1
        estimate = result.estimates["viscosity"]
        scores.append(float((estimate.value - 0.1) / estimate.standard_error))
    # the sum of 12 squared standard normal numbers, central 99.8 %
    total = sum(score**2 for score in scores)
    assert stats.chi2.ppf(0.001, 12) < total < stats.chi2.ppf(0.999, 12), scores
