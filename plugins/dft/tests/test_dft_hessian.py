"""The Hessian made at once against one displacement at a time, PySCF, and its own sum rules."""

import numpy as np
import pytest
import torch
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.hessian import assemble
from sfm_dft.hessian.curvature import Curvature
from sfm_dft.hessian.expansion import Expansion, adjoint, bilinear
from sfm_dft.hessian.kernel import kernel
from sfm_dft.hessian.occupied import Occupied
from sfm_dft.scf.diis import finish
from sfm_dft.simulators.kohn_sham import KohnSham
from torch import nn

from sfm.data.sample import Sample
from sfm.progress import listening

LIH = np.array([3, 1]), np.array([[0.0, 0.0, 0.0], [0.1, 0.2, 1.6]])
BENT = np.array([8, 1, 1]), np.array([[0.0, 0.0, 0.11], [0.05, 0.77, -0.45], [0.0, -0.72, -0.5]])
# far apart: blocks of the grid leave out the orbitals that do not reach them
APART = np.array([1, 1, 2]), np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.74], [0.0, 1.0, 20.0]])


class Projected(nn.Module):
    """A small closure of projections and distances."""

    def forward(self, density):
        scalars = torch.tanh(density.projections[:, :10].sum(1))
        distance = (density.positions[:, None] - density.positions).square().sum(-1)
        return 0.1 * scalars @ torch.exp(-distance) @ scalars


def solved(molecule, **options):
    numbers, positions = molecule
    spin = float(int(numbers.sum()) % 2)
    sample = Sample(
        id="a", domain="dft", types=numbers, positions=positions, conditions={"spin": spin}
    )
    options = {"basis": "sto-3g", "grid_level": 0, "tolerance": 1e-11, **options}
    simulator = KohnSham(**options).requires_grad_(False)
    state = simulator.solve(sample)
    functional = simulator.energy_functional(state)
    return functional, finish(functional, state.scf, smearing=0.0)


@pytest.mark.parametrize(
    ("molecule", "options"),
    [
        (LIH, {"functional": "LDA", "field_z": 0.3}),
        (LIH, {"functional": "B3LYP", "dispersion": "d3"}),
        (LIH, {"functional": "r2SCAN", "spin": "unrestricted"}),
        (LIH, {"functional": "PBE0", "coulomb": "exact"}),
        (LIH, {"functional": "PBE", "closure": Projected()}),
        (LIH, {"functional": "PBE0", "integrals": "torch"}),
        (APART, {"functional": "PBE0", "basis": "6-31g"}),
        (([7, 1, 1], BENT[1]), {"functional": "PBE0"}),
    ],
    ids=["lda", "b3lyp", "r2scan", "exact", "closure", "torch", "apart", "radical"],
)
def test_columns_are_those_of_one_displacement_at_a_time(molecule, options):
    functional, solution = solved((np.array(molecule[0]), molecule[1]), **options)
    matrix, dipoles = assemble.hessian(functional, solution)
    curvature = Curvature(functional, solution)
    for k in (0, 5):
        unit = torch.zeros(matrix.shape[0], dtype=torch.float64)
        unit[k] = 1.0
        motion = curvature.move(unit.view(-1, 3))
        (column,) = curvature.along(motion)
        # both solve their response to 1e-9
        torch.testing.assert_close(matrix[k], column.flatten(), rtol=0, atol=2e-8)
        moment = curvature.dipole_derivative(motion)
        torch.testing.assert_close(dipoles[k], moment, rtol=0, atol=2e-8)
    atoms = len(molecule[0])
    assert matrix.view(atoms, 3, -1).sum(0).abs().max() < 1e-7  # the whole molecule moves freely


def test_water_equals_pyscf_up_to_the_response_of_the_grid():
    """PySCF holds grid points and weights still, which makes 1e-3 hartree/bohr^2 at level 3."""
    from pyscf import dft

    molecule = build_molecule(*BENT, "6-31g")
    reference = dft.RKS(molecule).density_fit(auxbasis="def2-universal-jkfit")
    reference.xc, reference.grids.level, reference.conv_tol = "B3LYPG", 3, 1e-11
    reference.kernel()
    second = reference.Hessian()
    second.auxbasis_response = 2
    fixed_grid = second.kernel().transpose(0, 2, 1, 3).reshape(9, 9)
    functional, solution = solved(BENT, functional="B3LYP", basis="6-31g", grid_level=3)
    matrix, _ = assemble.hessian(functional, solution)
    np.testing.assert_allclose(matrix.numpy(), fixed_grid, rtol=0, atol=2e-3)
    # on both sides the same fitting: what the grids differ by is all
    assert float((matrix - torch.tensor(fixed_grid)).abs().mean()) < 5e-4


def test_the_kernel_of_many_changes_is_that_of_autograd():
    functional, solution = solved(LIH, functional="r2SCAN", spin="unrestricted")
    occupied = Occupied.of(solution, functional.system.share)
    expansion = Expansion.at(functional, solution.density_matrix[0])
    generator = torch.Generator().manual_seed(0)
    changes = [
        torch.randn(3, len(c), o, generator=generator, dtype=torch.float64)
        for c, o in zip(occupied.orbitals, occupied.filled, strict=True)
    ]
    fast = kernel(functional, solution, occupied, expansion)(changes)
    plain = kernel(functional, solution, occupied, None)(changes)
    for a, b in zip(fast, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_fields_and_their_adjoint_belong_together(channels):
    generator = torch.Generator().manual_seed(0)
    slopes = min(channels, 4)
    phi = torch.randn(slopes, 2, 7, generator=generator, dtype=torch.float64)
    psi = torch.randn(slopes, 3, 2, 7, generator=generator, dtype=torch.float64)
    v = torch.randn(channels, 7, generator=generator, dtype=torch.float64)
    left = (bilinear(phi, psi, channels) * v[:, None]).sum()
    right = 2.0 * (adjoint(v, phi)[:, None] * psi).sum()
    torch.testing.assert_close(left, right)


def test_it_says_how_far_it_is():
    seen = []
    functional, solution = solved(LIH)
    with listening(seen.append), torch.no_grad():
        assemble.hessian(functional, solution)
    works = {p.work for p in seen}
    assert {"vibrations: response, step", "vibrations: block of the grid"} <= works
