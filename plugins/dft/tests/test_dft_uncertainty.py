"""The posterior of a learned functional's last layers, and what it says of observables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_dft.neural.densities import load, prepare
from sfm_dft.neural.functional import NeuralGGA
from sfm_dft.neural.reactions import Reaction, reactions
from sfm_dft.neural.saving import Ensemble
from sfm_dft.neural.species import species
from sfm_dft.neural.spectra import SpeciesSpectra, spectra
from sfm_dft.neural.training import Settings, train
from sfm_dft.neural.uncertainty import (
    Calibration,
    Laplace,
    _evidence,
    calibration,
    ensemble_calibration,
    jacobian,
    last_layers,
    reaction_energies,
)

import sfm
from sfm.data.sample import Sample
from sfm.errors import InputError, RunError

LIH = Sample(
    id="LiH",
    domain="dft",
    types=np.array([3, 1]),
    positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.6]]),
)


@pytest.fixture(scope="module")
def some(tmp_path_factory) -> tuple[dict[str, SpeciesSpectra], list[Reaction]]:
    """Spectra of a few light species in a small basis, and the reactions among them."""
    folder, names = tmp_path_factory.mktemp("densities"), ["H", "Li", "Li+1", "Be", "Be+1", "LiH"]
    blank, prepared = NeuralGGA(), {}
    for name in names:
        np.savez(folder / f"{name}.npz", **prepare(species(name), basis="6-31g"))
        prepared[name] = spectra(blank, load(folder / f"{name}.npz"))
    return prepared, [r for r in reactions() if set(r.coefficients) <= {*names}]


@pytest.fixture(scope="module")
def posterior(some) -> Laplace:
    functional = NeuralGGA(hidden=6, seed=1)
    train(functional, *some, Settings(steps=60, validation=0.0))
    return Laplace.fit(functional, *some)


def test_evidence_finds_the_noise_and_the_prior_that_made_the_data():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows, kinds = normal(4000, 20), torch.arange(4000) % 2
    weights, noise = 0.3 * normal(20), torch.tensor([2.0, 0.5], dtype=torch.float64)
    data = rows @ weights + noise[kinds] * normal(4000)
    # residuals at the best fit, as training leaves them
    scaled = rows / noise[kinds][:, None]
    best = torch.linalg.solve(scaled.mT @ scaled, scaled.mT @ (data / noise[kinds]))
    covariance, fitted_noise, prior, determined = _evidence(
        rows, rows @ best - data, kinds, float(best.square().sum())
    )
    # relative errors of estimates from 2000 and from 20 numbers: 1/sqrt(4000) and sqrt(2/20)
    assert torch.allclose(fitted_noise, noise, rtol=0.05)
    assert 0.4 < prior * 0.3**2 < 2.5
    assert 19.5 < determined <= 20.0
    # covariance of the weights is that of the best fit about the truth
    scatter = (best - weights) @ torch.linalg.inv(covariance) @ (best - weights)
    assert 5.0 < float(scatter) < 45.0  # chi squared with 20 degrees of freedom


def test_the_gradients_of_a_functional_are_those_of_its_reactions(posterior, some):
    functional, weights = posterior.functional, last_layers(posterior.functional)
    rows = jacobian(reaction_energies(functional, *some), weights)
    direction = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(1)).double()

    def moved(step: float) -> torch.Tensor:
        torch.nn.utils.vector_to_parameters(start + step * direction, weights)
        with torch.no_grad():
            return reaction_energies(functional, *some)

    start = torch.nn.utils.parameters_to_vector(weights).detach().clone()
    slope = (moved(1e-4) - moved(-1e-4)) / 2e-4
    torch.nn.utils.vector_to_parameters(start, weights)
    assert torch.allclose(rows @ direction, slope, rtol=1e-6, atol=1e-6)


def test_an_energy_and_a_dipole_have_standard_errors_through_self_consistency(posterior):
    """Derivatives by the last layers equal differences of converged calculations."""
    functional, weights = posterior.functional, last_layers(posterior.functional)
    simulator = sfm.simulator(
        "dft/kohn-sham", functional="none", closure=functional, basis="sto-3g", grid_level=0,
        tolerance=1e-9,
    )  # fmt: skip
    start = simulator.solve(LIH)
    observed = simulator.observe(start)
    values = torch.stack([observed["energy"], observed["dipole"][2]])
    errors = posterior.standard_error(values)
    assert errors.shape == (2,)
    assert (errors > 0).all()
    rows = jacobian(values, weights)
    assert torch.allclose(errors, posterior.of_derivatives(rows))
    step = 1e-2 * posterior.samples(1, seed=3)[0] / posterior.samples(1, seed=3)[0].norm()
    trained = torch.nn.utils.parameters_to_vector(weights).detach().clone()
    moved = []
    for sign in (1.0, -1.0):
        torch.nn.utils.vector_to_parameters(trained + sign * step, weights)
        again = simulator.observe(simulator(start, 60))
        moved.append(torch.stack([again["energy"], again["dipole"][2]]).detach())
    torch.nn.utils.vector_to_parameters(trained, weights)
    slope = 0.5 * (moved[0] - moved[1])
    assert torch.allclose(rows @ step, slope, rtol=1e-4, atol=1e-8)


def test_samples_have_the_covariance(posterior):
    drawn = posterior.samples(20000, seed=1)
    covariance = drawn.mT @ drawn / len(drawn)
    scale = posterior.covariance.diagonal().sqrt()
    # correlations from 20000 numbers are good to 1/sqrt(20000) = 0.007
    assert ((covariance - posterior.covariance) / (scale[:, None] * scale)).abs().max() < 0.05


def test_calibration_counts_what_lies_inside():
    counts = Calibration.of(torch.tensor([0.5, -1.5, 3.0, 0.0]), torch.ones(4))
    assert (counts.within_one, counts.within_two, counts.count) == (0.5, 0.75, 4)
    assert counts.spread == pytest.approx((11.5 / 4) ** 0.5)


def test_both_kinds_of_uncertainty_are_judged_on_reactions(posterior, some):
    judged = calibration(posterior, *some)
    for kind in ("atomisation", "ionisation"):
        assert judged[kind]["total"].within_one >= judged[kind]["weights"].within_one
    members = torch.stack([reaction_energies(posterior.functional, *some)] * 2).detach()
    members[1] += 1.0
    spread = ensemble_calibration(members, posterior.noise, some[1])
    assert spread["ionisation"]["weights"].expected == pytest.approx(0.5**0.5)


def test_a_posterior_is_saved_beside_its_functional(posterior, tmp_path):
    posterior.save(tmp_path)
    again = Laplace.load(posterior.functional, tmp_path)
    assert torch.equal(again.covariance, posterior.covariance)
    assert (again.noise, again.prior) == (posterior.noise, posterior.prior)
    with pytest.raises(InputError, match="66"):
        Laplace.load(NeuralGGA(), tmp_path)
    with pytest.raises(InputError, match="holds no"):
        Laplace.load(NeuralGGA(), tmp_path / "other")


def test_an_ensemble_has_a_posterior_too(some):
    members = [NeuralGGA(hidden=3, seed=s).with_random_weights(s, 0.1) for s in (0, 1)]
    laplace = Laplace.fit(Ensemble(members), *some)
    assert laplace.covariance.shape == (16, 16)
    assert 0.0 < laplace.determined <= len(some[1])


def test_what_cannot_be_judged_says_why(posterior, some):
    with pytest.raises(InputError, match="trained on"):
        Laplace.fit(NeuralGGA(), some[0], [])
    with pytest.raises(InputError, match="no network"):
        last_layers(torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="no_grad"):
        posterior.standard_error(torch.ones(2))
    silent = {name: one for name, one in some[0].items() if name == "H"}
    with pytest.raises((InputError, RunError)):
        Laplace.fit(NeuralGGA(), silent, some[1])
