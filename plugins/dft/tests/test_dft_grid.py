"""The integration grid and the orbitals on it, both our own, against PySCF's."""

import numpy as np
import pytest
import torch
from pyscf import dft, gto
from sfm_dft.basis.elements import BRAGG_RADII, TREUTLER_XI
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.grid.atomic import atomic_grid, pruned, radial
from sfm_dft.grid.molecular import NEGLIGIBLE, build_grid
from sfm_dft.grid.orbital_derivatives import Jets, size
from sfm_dft.integrals import Shells

from sfm.errors import InputError

# water and a far argon atom, bent out of every plane, so that nothing vanishes by symmetry
NUMBERS = np.array([8, 1, 1, 18])
POSITIONS = np.array([[0.0, 0.1, 0.2], [0.9, 0.1, 0.0], [-0.3, 0.9, 0.3], [3.1, -0.4, 8.0]])


def canonical(points):
    """An order that two lists of the same points share."""
    return np.lexsort(np.round(points, 8).T)


def pyscf_grid(molecule, level, prune):
    grid = dft.gen_grid.Grids(molecule)
    grid.level = level
    if not prune:
        grid.prune = None
    grid.build(with_non0tab=False)
    real = grid.atm_idx >= 0  # the rest pads
    return grid.coords[real], grid.weights[real], grid.quadrature_weights[real]


@pytest.mark.parametrize("number", [1, 2, 3, 10, 11, 18, 26, 36, 53, 79, 103])
def test_radii_and_pruning_of_every_level_equal_pyscf(number):
    for level in range(10):
        count = int(dft.gen_grid._default_rad(number, level))
        angles = dft.gen_grid._default_ang(number, level)
        reference, steps = dft.radi.treutler_ahlrichs(count, number)
        radii, weights = radial(count, TREUTLER_XI[number])
        np.testing.assert_allclose(radii, reference, rtol=1e-13)
        np.testing.assert_allclose(weights, steps, rtol=1e-12)
        degree = {n: d for d, n in dft.LebedevGrid.LEBEDEV_ORDER.items()}
        rules = [degree[n] for n in dft.gen_grid.nwchem_prune(number, reference, angles)]
        assert pruned(number, radii, degree[angles]).tolist() == rules


def test_tables_of_elements_equal_pyscf():
    radii = dft.radi.BRAGG_RADII[1 : len(BRAGG_RADII)]
    np.testing.assert_allclose(np.array(BRAGG_RADII)[1:] / radii, 0.52917721092, rtol=1e-13)
    assert list(TREUTLER_XI) == dft.radi._treutler_ahlrichs_xi


@pytest.mark.parametrize(("level", "prune"), [(0, True), (3, True), (2, False)])
def test_points_and_weights_equal_pyscf(level, prune):
    molecule = build_molecule(NUMBERS, POSITIONS, "sto-3g")
    points, weights, volumes = pyscf_grid(molecule, level, prune)
    shells = Shells.of(molecule)
    grid = build_grid(torch.tensor(NUMBERS), shells, level, prune=prune, gradient=False)
    ours, theirs = canonical(grid.points.numpy()), canonical(points)
    np.testing.assert_allclose(grid.points.numpy()[ours], points[theirs], atol=1e-13)
    np.testing.assert_allclose(grid.volumes.numpy()[ours], volumes[theirs], rtol=1e-12)
    # a weight is a volume times a share in [0, 1] that is a product of small differences
    share = grid.weights.numpy()[ours] / volumes[theirs]
    np.testing.assert_allclose(share, weights[theirs] / volumes[theirs], atol=1e-12)
    near = (grid.points[:, None] - shells.positions).norm(dim=2)
    sizes = [len(atomic_grid(z, level, prune)[1]) for z in NUMBERS.tolist()]
    assert torch.bincount(grid.owners).tolist() == sizes
    radii = [np.linalg.norm(atomic_grid(z, level, prune)[0], axis=1) for z in NUMBERS.tolist()]
    for atom, radius in enumerate(radii):
        distances = near[grid.owners == atom, atom].sort().values
        np.testing.assert_allclose(distances.numpy(), np.sort(radius), atol=1e-12)


def test_neighbours_in_the_list_are_neighbours_in_space():
    molecule = build_molecule(NUMBERS, POSITIONS, "def2-svp")
    grid = build_grid(torch.tensor(NUMBERS), Shells.of(molecule), 1, prune=True, gradient=True)
    kept = np.mean([block.orbitals.shape[1] for block in grid.blocks]) / molecule.nao
    assert kept < 0.9  # water's orbitals do not reach argon's points


def test_orbitals_on_the_grid_equal_pyscf_where_they_reach():
    molecule = build_molecule(NUMBERS, POSITIONS, "def2-svp")
    grid = build_grid(torch.tensor(NUMBERS), Shells.of(molecule), 0, prune=True, gradient=True)
    for block in grid.blocks:
        points = grid.points[block.points].numpy()
        reference = dft.numint.eval_ao(molecule, points, deriv=1).transpose(0, 2, 1)
        orbitals = np.zeros_like(reference)
        functions = slice(None) if block.functions is None else block.functions
        orbitals[:, grid.jets.order[functions].numpy()] = block.orbitals.numpy()
        # rounding, and what screening leaves out
        np.testing.assert_allclose(
            orbitals, reference, atol=1e-12 * max(1.0, np.abs(reference).max())
        )
        missing = np.setdiff1d(np.arange(molecule.nao), grid.jets.order[functions].numpy())
        assert np.abs(reference[:, missing]).max(initial=0.0) < NEGLIGIBLE


@pytest.mark.parametrize("order", range(5))
def test_derivatives_of_any_order_equal_pyscf(order):
    basis = {
        "C": "cc-pvqz",
        "O": "ano",  # general contraction
        "H": [[5, [0.4, 1.0]], [0, [3.0, 0.4], [1.0, 0.2]], [6, [0.9, 1.0]]],
    }
    molecule = gto.M(atom="C 0 0 0; O 0.1 0.2 1.3; H 1 0.3 -0.2", basis=basis, spin=1, verbose=0)
    shells = Shells.of(molecule, largest=6)
    jets = Jets.of(shells, NEGLIGIBLE)
    points = 2.0 * np.random.default_rng(0).standard_normal((150, 3))
    reference = dft.numint.eval_ao(molecule, points, deriv=order)
    reference = (reference if order else reference[None]).transpose(0, 2, 1)
    derivatives = torch.empty(reference.shape, dtype=torch.float64)
    assert len(derivatives) == size(order)
    derivatives[:, jets.order] = jets(order, torch.tensor(points), shells.positions)
    # each order of derivative has a scale of its own, as tight functions are steep
    for k in range(order + 1):
        rows = slice(size(k - 1), size(k))
        scale = np.abs(reference[rows]).max()
        np.testing.assert_allclose(
            derivatives[rows].numpy(), reference[rows], atol=1e-12 * max(1.0, scale)
        )


def test_pieces_and_selections_of_orbitals_are_those_of_the_whole():
    molecule = build_molecule(NUMBERS, POSITIONS, "def2-svp")
    shells = Shells.of(molecule)
    jets = Jets.of(shells, NEGLIGIBLE)
    points = torch.tensor(np.random.default_rng(1).standard_normal((4000, 3)))
    whole = jets(2, points, shells.positions)
    parts = [jets(2, part, shells.positions) for part in points.split(100)]
    torch.testing.assert_close(torch.cat(parts, -1), whole, rtol=0, atol=1e-13)
    which = np.random.default_rng(2).random(len(jets.reach)) < 0.4
    some = jets(2, points, shells.positions, which)
    torch.testing.assert_close(some, whole[:, jets.functions(which)], rtol=0, atol=1e-13)


def test_an_element_without_a_grid_is_refused():
    with pytest.raises(InputError, match="element 104"):
        atomic_grid(104, 3, True)
