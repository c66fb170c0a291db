"""Densities in atom-centred functions as first guesses, and training a model for that."""

import numpy as np
import pytest
import torch
from sfm_dft.basis import density_basis
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data.labelling import kohn_sham
from sfm_dft.data.specs import DFT_SMALL, PBE
from sfm_dft.density import guess
from sfm_dft.density.guess import QUANTITY
from sfm_dft.density.training import CoulombTraining, example, whitening
from sfm_dft.model.single_context import single_context

import sfm
from sfm.data.storage import open_dataset
from sfm.errors import InputError

FORMALDEHYDE = (
    np.array([6, 8, 1, 1]),
    np.array([[0.0, 0.0, 0.0], [0.0, 0.1, 1.2], [0.0, 0.94, -0.58], [0.0, -0.9, -0.6]]),
)


@pytest.fixture(scope="module")
def molecule():
    return build_molecule(*FORMALDEHYDE)


@pytest.fixture(scope="module")
def converged(molecule):
    with kohn_sham(molecule, "PBE") as mean_field:
        mean_field.kernel()
        return mean_field.make_rdm1(), mean_field.get_fock(), mean_field.cycles


@pytest.fixture(scope="module")
def base():
    return sfm.load("sfm-tiny")


def samples(count):
    data = open_dataset(DFT_SMALL.folder, split="train", level=PBE)
    return [data[i] for i in range(count)]


def test_fock_matrix_of_the_fitted_density_is_close_to_the_true_one(molecule, converged):
    """A fit that is 2 % off in the density is much better in its Coulomb potential."""
    density, fock, _ = converged
    fitted = guess.fock(molecule, density_basis.fit(molecule, density))
    np.testing.assert_allclose(fitted, fitted.T, atol=1e-12)
    assert np.abs(fitted - fock).max() < 0.05
    atoms = guess.fock(molecule, guess.superposed(molecule))
    assert np.abs(fitted - fock).max() < 0.2 * np.abs(atoms - fock).max()


def test_coulomb_energy_of_the_fit(molecule, converged):
    """tr(J[fit] D) is the fit's energy with the density, which the fit keeps: c.(k|l).c."""
    coefficients = density_basis.fit(molecule, converged[0])
    energy = np.einsum("ij,ji", guess._hartree(molecule, coefficients), converged[0])
    flat = density_basis.from_e3nn(coefficients)
    metric = density_basis.auxiliary_molecule(molecule).intor("int2c2e")
    # up to the constraint on the number of electrons
    assert energy == pytest.approx(flat @ metric @ flat, rel=1e-4)


def test_the_guess_of_the_fit_saves_cycles(molecule, converged):
    density, _, cycles = converged
    first = guess.occupied(molecule, guess.fock(molecule, density_basis.fit(molecule, density)))
    overlap = molecule.intor("int1e_ovlp")
    np.testing.assert_allclose(first @ overlap @ first, 2 * first, atol=1e-9)
    with kohn_sham(molecule, "PBE") as mean_field:
        mean_field.kernel(first)
        assert mean_field.converged
        assert mean_field.cycles < cycles - 1


def test_relaxing_makes_the_coulomb_potential_self_consistent(molecule, converged):
    """With the true v_xc that is the true solution; from atoms it is nearer to it than they are."""
    from pyscf import dft

    density, fock, _ = converged
    with kohn_sham(molecule, "PBE") as mean_field:
        fixed = fock - mean_field.get_j(dm=density)
    atoms = guess.superposed(molecule)
    first = guess.start(molecule, atoms, relax=False)
    with guess.fitting(molecule) as coulomb:
        relaxed = guess.relaxed(molecule, fixed, first, coulomb)
    overlap = molecule.intor("int1e_ovlp")
    assert np.trace(relaxed @ overlap) == pytest.approx(molecule.nelectron, abs=1e-9)
    np.testing.assert_allclose(relaxed, density, atol=5e-3)
    points = dft.gen_grid.Grids(molecule)
    points.level = 0
    points.build()
    values = dft.numint.eval_ao(molecule, points.coords)

    def error(matrix):
        change = np.abs((values @ (matrix - density) * values).sum(1))
        return points.weights @ change / molecule.nelectron

    assert error(guess.start(molecule, atoms)) < 0.6 * error(first)


def test_the_bundled_model_saves_cycles(molecule, converged):
    """Formaldehyde, distorted; the benchmark has the means over many unseen molecules."""
    model = sfm.load("sfm-density")
    first = guess.density_matrix(molecule, model)
    with kohn_sham(molecule, "PBE") as mean_field:
        shared = guess.density_matrix(molecule, model, coulomb=lambda d: mean_field.get_j(dm=d))
        np.testing.assert_allclose(shared, first, atol=1e-6)
        mean_field.kernel(first)
        assert mean_field.converged
        assert mean_field.cycles < converged[2]


def test_electrons_are_conserved(molecule):
    wrong = 1.02 * guess.superposed(molecule)
    right = guess.conserve(molecule, wrong)
    count = (right @ density_basis.electrons_per_function()).sum()
    assert count == pytest.approx(molecule.nelectron, abs=1e-8)
    np.testing.assert_allclose(guess.conserve(molecule, right), right, atol=1e-9)


def test_guess_turns_with_the_molecule(molecule, base):
    """Eigenvalues of the Fock matrix do not change, up to the grid, which does not turn."""
    from scipy.linalg import eigh

    turn = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    other = build_molecule(FORMALDEHYDE[0], FORMALDEHYDE[1] @ turn.T)
    levels = []
    for mol in (molecule, other):
        matrix = guess.fock(mol, guess.predicted(mol, base, PBE))
        levels.append(eigh(matrix, mol.intor("int1e_ovlp"), eigvals_only=True))
    np.testing.assert_allclose(levels[0], levels[1], atol=2e-3)


def test_open_shells_fill_either_spin(base):
    from pyscf import gto

    radical = gto.M(atom="O 0 0 0; H 0 0 0.97", basis="sto-3g", spin=1, verbose=0)
    first = guess.density_matrix(radical, base)
    assert first.shape == (2, radical.nao, radical.nao)
    overlap = radical.intor("int1e_ovlp")
    assert [round(np.trace(d @ overlap)) for d in first] == [5, 4]


def test_what_cannot_be_guessed_is_refused(molecule, base):
    sulfide = build_molecule(np.array([16, 1, 1]), np.eye(3))
    with pytest.raises(InputError, match=r"no density basis for S \(atom 0\)"):
        guess.density_matrix(sulfide, base)
    with pytest.raises(InputError, match=r"shape \(3, 45\), expected \(4, 45\)"):
        guess.fock(molecule, np.zeros((3, 45)))
    with pytest.raises(InputError, match=r"shape \(3, 45\), expected \(4, 45\)"):
        guess.start(molecule, np.zeros((3, 45)))
    for name in ("b3lyp", "r2scan"):
        with pytest.raises(InputError, match=f"'{name}' is .* name an LDA or a GGA"):
            guess.fock(molecule, np.zeros((4, 45)), name)


def test_small_model_predicts_what_its_base_does(molecule, base):
    small = single_context(base, PBE, "small", [QUANTITY])
    np.testing.assert_allclose(
        guess.predicted(molecule, small), guess.predicted(molecule, base, PBE), atol=1e-4
    )
    assert [t.quantity for t in small.targets()] == ["density_coefficients"]


def test_loss_is_the_coulomb_energy_of_the_error_and_folding_changes_nothing(base):
    sample = samples(3)[2]
    model = single_context(base, PBE, "small", [QUANTITY])
    one = example(model, sample, PBE)
    training = CoulombTraining(model, PBE, [example(model, s, PBE) for s in samples(3)])
    molecule = build_molecule(sample.types, sample.positions)
    before = guess.predicted(molecule, model)
    training.fold(inwards=True)
    with torch.no_grad():
        losses = training.loss([one, one])
    training.fold(inwards=False)
    # float32 weights of functions that overlap strongly
    np.testing.assert_allclose(guess.predicted(molecule, model), before, atol=2e-3)
    error = density_basis.from_e3nn(before - sample.labels["density_coefficients"])
    metric = density_basis.auxiliary_molecule(molecule).intor("int2c2e")
    expected = np.sqrt(error @ metric @ error / sample.types.sum())
    np.testing.assert_allclose(losses.numpy(), [expected, expected], rtol=2e-3)


def test_whitening_is_equivariant():
    from sfm_dft.model.irreps import rotate_irreps

    from sfm.nn.symmetry import random_rotation

    generator = torch.Generator().manual_seed(0)
    values = torch.randn(7, density_basis.DIM, generator=generator, dtype=torch.float64)
    matrix = whitening(values)
    rotation = random_rotation(generator)
    torch.testing.assert_close(
        rotate_irreps(values @ matrix.T, rotation), rotate_irreps(values, rotation) @ matrix.T
    )


def test_training_lowers_the_error_of_the_density(base):
    model = single_context(base, PBE, "small", [QUANTITY])
    examples = [example(model, s, PBE) for s in samples(6)]
    training = CoulombTraining(model, PBE, examples)
    training.fold(inwards=True)
    before = training.mean_loss(examples)
    training.fold(inwards=False)
    said = []
    history = training.run(examples, steps=24, batch=3, every=12, report=said.append)
    assert [row["step"] for row in history] == [0, 12, 24]
    assert history[0]["validation"] == pytest.approx(before, rel=1e-5)
    assert len(said) == 2
    assert history[-1]["validation"] < 0.8 * before
    again = CoulombTraining(single_context(base, PBE, "small", [QUANTITY]), PBE, examples)
    repeated = again.run(examples, steps=24, batch=3, every=12, report=said.append)
    assert repeated[-1] == pytest.approx(history[-1], rel=1e-3)
    bare = samples(1)[0].replace(labels={})
    with pytest.raises(InputError, match="no label 'density_coefficients'"):
        example(model, bare, PBE)
