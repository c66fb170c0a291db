"""The density basis: order of components, fit, projections, rotations, metrics."""

import numpy as np
import pytest
import torch
from sfm_dft.basis import density_basis
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.model.irreps import join_irreps, rotate_irreps, split_irreps
from sfm_dft.model.metrics import (
    density_nmae,
    density_relative_error,
    dipole_vector_error,
    electron_error,
    onsite_overlap,
)

from sfm.nn.harmonics import spherical_harmonics
from sfm.nn.symmetry import random_rotation

NUMBERS = np.array([7, 1, 8])
POSITIONS = np.array([[0.0, 0.1, 0.2], [0.9, 0.4, 0.0], [-0.6, 1.0, 0.3]])


@pytest.fixture(scope="module")
def water():
    """PySCF's converged PBE density matrix of a bent HNO."""
    from sfm_dft.data.labelling import label

    labels = label(NUMBERS, POSITIONS)
    assert labels is not None
    return labels["PBE"]


def test_quadrupoles_follow_the_order_of_the_trunk():
    points = np.random.default_rng(0).standard_normal((20, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ours = density_basis.e3nn_quadrupoles(points)
    trunk = spherical_harmonics(torch.from_numpy(points))[:, 4:].numpy() / np.sqrt(5.0)
    np.testing.assert_allclose(ours, trunk, atol=1e-12)
    rotation = density_basis.quadrupole_rotation()
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(5), atol=1e-12)


def test_evaluation_equals_pyscf():
    from pyscf import dft

    rng = np.random.default_rng(1)
    molecule = build_molecule(NUMBERS, POSITIONS)
    points, c = 1.5 * rng.standard_normal((60, 3)), rng.standard_normal((3, density_basis.DIM))
    values = dft.numint.eval_ao(density_basis.auxiliary_molecule(molecule), points, deriv=1)
    reference = values @ density_basis.from_e3nn(c)
    density = density_basis.evaluate(molecule.atom_coords(), c, points, gradient=True, chunk=25)
    np.testing.assert_allclose(density, reference, atol=1e-12 * np.abs(reference).max())
    alone = density_basis.evaluate(molecule.atom_coords(), c, points)
    np.testing.assert_allclose(alone, reference[0], atol=1e-12)


def test_normalisation_and_electron_counts():
    molecule = build_molecule(NUMBERS[:1] - 5, POSITIONS[:1])  # He
    auxiliary = density_basis.auxiliary_molecule(molecule)
    turn = density_basis.atom_rotation()
    overlap = turn @ auxiliary.intor("int1e_ovlp") @ turn.T
    np.testing.assert_allclose(onsite_overlap(), overlap, atol=1e-10)
    np.testing.assert_allclose(np.diag(overlap), 1.0, atol=1e-10)


def test_projections_are_linear_in_the_density(water):
    molecule = build_molecule(NUMBERS, POSITIONS)
    integrals = density_basis.overlap_integrals(molecule)
    projections = np.einsum("akij,ij->ak", integrals, water.density_matrix)
    np.testing.assert_allclose(
        projections, density_basis.project(molecule, water.density_matrix), atol=1e-10
    )


@pytest.mark.parametrize("describe", [density_basis.project, density_basis.fit])
def test_descriptions_turn_with_the_molecule(water, describe):
    """Labels of the turned molecule are the turned labels: order and parity are right."""
    from sfm_dft.data.labelling import label

    rotation = random_rotation(torch.Generator().manual_seed(3))
    rotation = rotation @ torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    turned = POSITIONS @ rotation.numpy().T
    labels = label(NUMBERS, turned, grid_level=3)
    straight = label(NUMBERS, POSITIONS, grid_level=3)
    assert labels is not None
    assert straight is not None
    before = describe(build_molecule(NUMBERS, POSITIONS), straight["LDA"].density_matrix)
    after = describe(build_molecule(NUMBERS, turned), labels["LDA"].density_matrix)
    turned_after = rotate_irreps(torch.from_numpy(before), rotation).numpy()
    # the Becke grid does not turn with the molecule
    np.testing.assert_allclose(after, turned_after, atol=2e-3)
    assert np.abs(after - before).max() > 0.05


def test_fit_keeps_electrons_and_dipole(water):
    molecule = build_molecule(NUMBERS, POSITIONS)
    c = density_basis.fit(molecule, water.density_matrix)
    assert (c @ density_basis.electrons_per_function()).sum() == pytest.approx(16.0, abs=1e-8)
    nmae = density_nmae(NUMBERS, POSITIONS, c, density_matrix=water.density_matrix)
    assert 0.005 < nmae < 0.035  # the floor of this small basis
    assert density_nmae(NUMBERS, POSITIONS, c, c) == pytest.approx(0.0, abs=1e-14)


def test_splitting_is_lossless():
    values = torch.randn(4, density_basis.DIM, generator=torch.Generator().manual_seed(0))
    parts = split_irreps(values)
    assert [tuple(p.shape) for p in parts] == [(4, 10), (4, 3, 5), (4, 5, 4)]
    assert torch.equal(join_irreps(*parts), values)


def test_metrics():
    rng = np.random.default_rng(0)
    target = rng.standard_normal((5, density_basis.DIM))
    assert density_relative_error(target, target) == 0.0
    assert density_relative_error(1.1 * target, target) == pytest.approx(0.1)
    extra = target.copy()
    extra[:, 0] += 1.0 / density_basis.electrons_per_function()[0]
    assert electron_error(extra, target) == pytest.approx(1.0)
    assert dipole_vector_error([[3.0, 4.0, 0.0]], [[0.0, 0.0, 0.0]]) == pytest.approx(5.0)
