"""Exact answers on a line: against published DMRG, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_dft.ladder.benchmark import curve, labels_of, samples
from sfm_dft.ladder.exact import TwoElectrons, one_electron, two_electrons
from sfm_dft.ladder.full_ci import full_ci, natural_basis
from sfm_dft.ladder.grid import kinetic_matrix, points
from sfm_dft.ladder.kohn_sham_1d import KohnSham1D
from sfm_dft.ladder.labels import problem_of, tasks
from sfm_dft.ladder.molecules import Molecules, build
from sfm_dft.ladder.neural import GlobalXC
from sfm_dft.ladder.saving import load, save
from sfm_dft.ladder.training import exact_xc_energy, train_on_exact_densities, train_through

from sfm.errors import InputError

# electronic DMRG energies of H2 in pedersor/DFT_1d, data/molecules (Apache-2.0)
DMRG = {
    (-0.16, 0.16): -2.224158319702073,
    (-0.64, 0.64): -2.062089725812737,
    (-1.44, 1.44): -1.7113030776953821,
}
DMRG_STRETCHED = (-2.96, 3.04), -1.426690308912424
DMRG_H4 = (-1.52, -0.48, 0.56, 1.6), -5.868620974175939


def protons(at: tuple[float, ...], electrons: int) -> Molecules:
    x = torch.tensor(at, dtype=torch.float64)
    return Molecules(x, torch.ones_like(x), torch.tensor(electrons))


def test_h2_agrees_with_dmrg():
    at = (-0.64, 0.64)
    ground = two_electrons(problem_of(protons(at, 2)), tolerance=1e-5)
    assert ground.energy == pytest.approx(DMRG[at], abs=1e-7)
    assert ground.density.sum() * 0.08 == pytest.approx(2.0, abs=1e-10)


def test_stretched_h2_is_below_dmrg():
    """Both are variational on the same Hamiltonian: lower is better."""
    at, published = DMRG_STRETCHED
    ground = two_electrons(problem_of(protons(at, 2)), tolerance=1e-5)
    assert -6.5e-5 < ground.energy - published < -5.5e-5


def test_the_stored_labels_agree_with_dmrg():
    stored = {sample.id: sample for sample in samples()}
    for at, published in DMRG.items():
        sample = stored[f"H2/{at[1] - at[0]:.2f}"]
        nuclear = float(problem_of(protons(at, 2)).nuclear[0])
        assert float(sample.labels["energy_1d"]) - nuclear == pytest.approx(published, abs=1e-7)
    assert set(stored) == {task.id for task in tasks()}
    for sample in stored.values():
        electrons = len(sample.types) - sample.conditions["charge"]
        assert sample.labels["density_1d"].sum() * 0.08 == pytest.approx(electrons, abs=1e-9)


def test_two_electrons_without_repulsion_are_two_single_ones():
    size, dx = 121, 0.2
    problem = problem_of(build("H2", 1.6), size=size, dx=dx)
    v = problem.external[0].numpy()
    system = TwoElectrons(v, np.zeros((size, size)), dx)
    one = np.linalg.eigh(kinetic_matrix(size, dx, 4).numpy() + np.diag(v))
    x = points(size, dx).numpy()
    ground = system.ground_state(np.exp(-(x[:, None] ** 2) - x[None, :] ** 2), tolerance=1e-9)
    assert ground.energy == pytest.approx(2.0 * one[0][0], abs=1e-12)
    np.testing.assert_allclose(ground.density, 2.0 * one[1][:, 0] ** 2 / dx, atol=1e-8)
    assert ground.natural[0] == pytest.approx(2.0, abs=1e-9)


def test_full_ci_comes_down_to_the_exact_two_electron_energy():
    problem = problem_of(build("H2", 2.56), size=161, dx=0.16)
    exact = two_electrons(problem, tolerance=1e-7)
    basis = natural_basis(problem, mean_field=40)
    errors = [full_ci(problem, basis, k).energy - exact.energy for k in (4, 8, 14)]
    assert 0.0 < errors[2] < errors[1] < errors[0]
    assert errors[2] < 3e-5
    density = full_ci(problem, basis, 14).density
    assert np.abs(density - exact.density).sum() * 0.16 < 2e-3


def test_h4_is_close_to_dmrg():
    """Full CI is above the exact energy; DMRG is within a few 1e-5 of it here."""
    at, published = DMRG_H4
    problem = problem_of(protons(at, 4), size=257)
    basis = natural_basis(problem, mean_field=44)
    energies = [full_ci(problem, basis, size).energy for size in (8, 12)]
    assert energies[1] < energies[0]
    assert 0.0 < energies[1] - published < 1e-4


def test_h2_dissociates_into_two_atoms():
    (h,), _ = labels_of("H")
    _, atom = labels_of("H")
    r, h2 = labels_of("H2")
    assert h == 0.0
    assert float(h2.energy[-1]) == pytest.approx(2.0 * float(atom.energy[0]), abs=3e-3)
    assert r[int(h2.energy.argmin())] == pytest.approx(1.6, abs=0.17)
    alone = one_electron(problem_of(build("H", 0.0)))
    assert alone.energy == pytest.approx(float(atom.energy[0]), abs=1e-12)


def test_the_bundled_functional_keeps_its_promise():
    """The whole H2 curve to 6 bohr within chemical accuracy, every point self-consistent; one
    electron exact; four electrons, which it never saw, are not: the card says so."""
    functional = load("global")
    with pytest.raises(InputError, match="no bundled functional"):
        load("no-such")
    h2 = curve(functional, "H2").summary(6.0)
    assert h2["not converged"] == 0
    assert h2["max"] < 1.6
    plus = curve(functional, "H2+", separations=[0.64, 2.24, 8.32]).summary()
    assert plus["max"] < 1e-6


def test_the_bundled_functional_of_three_families_knows_four_electrons():
    """Geometries in none of its sets: within 5 mHa, where LDA is off by 30 or more."""
    functional = load("global-families")
    for name, separations in {"H4": [1.6, 4.0], "H2-H2": [1.92, 4.0]}.items():
        errors = curve(functional, name, separations=separations).summary()
        assert errors["not converged"] == 0
        assert errors["max"] < 5.0


def test_training_through_the_field_and_without_it(tmp_path):
    """A few evaluations; weights survive a file; the exact xc energy of two electrons is right."""
    _, labels = labels_of("H2", [0.96, 5.44])
    labels = labels.cropped(193)
    functional = GlobalXC(channels=3, hidden=4, layers=1, seed=0)
    fit = train_through(functional, labels, steps=8)
    assert min(fit.losses) < 0.3 * fit.losses[0]
    path = tmp_path / "a.safetensors"
    save(functional, path, kind="global", options={"channels": 3, "hidden": 4, "layers": 1})
    again = load(path)
    assert torch.equal(again(labels.density, 0.08), functional(labels.density, 0.08))
    other = GlobalXC(channels=3, hidden=4, layers=1, seed=0)
    assert min(train_on_exact_densities(other, labels, steps=30).losses) < 1e-5
    simulator = KohnSham1D(points=193)
    with torch.no_grad():
        exact = exact_xc_energy(labels)
        hartree = simulator.problem(labels.molecules).components(
            labels.density, simulator.problem(labels.molecules).repulsion()
        )["hartree"]
    assert (exact < -0.5 * hartree).all()  # beyond exchange: correlation is negative
