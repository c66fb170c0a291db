"""Full configuration interaction of more than two electrons on the grid, with PySCF's solver.

The orbitals are natural orbitals of a singles-and-doubles calculation in many mean-field orbitals,
which themselves come from the Hartree-Fock operator plus a weak confining potential: without it the
virtual orbitals are box states that know nothing of the molecule (3 mHa left with 22 of them).
The energy is variational on the same grid Hamiltonian, so its error is positive and falls with the
number of orbitals: `full_ci` can be run at several sizes to show it.

References: Löwdin, Phys. Rev. 97, 1474 (1955); Sun et al., J. Chem. Phys. 153, 024109 (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from sfm.errors import RunError
from sfm_dft.ladder.exact import GroundState
from sfm_dft.ladder.grid import kinetic_matrix
from sfm_dft.ladder.problem import Problem

CONFINEMENT = 0.02  # hartree / bohr^2
MEAN_FIELD = 72


@dataclass(frozen=True)
class OrbitalBasis:
    """Orthonormal orbitals (n, m) on the grid and the integrals over them, hartree."""

    vectors: Float[np.ndarray, "n m"]
    one: Float[np.ndarray, "m m"]
    two: Float[np.ndarray, "m m m m"]

    def reduced(self, rotation: Float[np.ndarray, "m k"]) -> OrbitalBasis:
        """The integrals over `vectors @ rotation`, (m, k)."""
        two = self.two
        for _ in range(4):
            two = np.tensordot(two, rotation, axes=(0, 0))
        return OrbitalBasis(
            self.vectors @ rotation, rotation.T @ self.one @ rotation, np.ascontiguousarray(two)
        )


def _integrals(vectors: np.ndarray, core: np.ndarray, repulsion: np.ndarray) -> OrbitalBasis:
    m = vectors.shape[1]
    pairs = (vectors[:, :, None] * vectors[:, None, :]).reshape(len(vectors), m * m)
    two = (pairs.T @ (repulsion @ pairs)).reshape(m, m, m, m)
    return OrbitalBasis(vectors, vectors.T @ core @ vectors, two)


def _hartree_fock(
    core: np.ndarray, repulsion: np.ndarray, occupied: int, cycles: int = 60
) -> np.ndarray:
    """The Fock matrix on the grid, loosely converged: it only has to give good orbitals."""
    fock, density = core, np.zeros_like(core)
    for _ in range(cycles):
        u = np.linalg.eigh(fock)[1][:, :occupied]
        new = u @ u.T
        if np.abs(new - density).max() < 1e-5:
            break
        density = 0.5 * (density + new) if density.any() else new
        fock = core + np.diag(2.0 * repulsion @ np.diag(density)) - repulsion * density
    return fock


def natural_basis(
    problem: Problem, *, order: int = 4, mean_field: int = MEAN_FIELD
) -> OrbitalBasis:
    """Natural orbitals, the most occupied first, of the first molecule of a problem."""
    from pyscf import ao2mo, ci, gto, scf

    with torch.no_grad():
        repulsion = problem.repulsion().numpy()
        core = kinetic_matrix(len(problem.x), problem.dx, order).numpy()
        core = core + np.diag(problem.external[0].numpy())
    electrons = int(problem.molecules.electrons[0])
    fock = _hartree_fock(core, repulsion, electrons // 2)
    confined = fock + np.diag(CONFINEMENT * problem.x.numpy() ** 2)
    basis = _integrals(np.linalg.eigh(confined)[1][:, :mean_field], core, repulsion)

    molecule = gto.M(verbose=0)
    molecule.nelectron = electrons
    molecule.incore_anyway = True
    field = scf.RHF(molecule)
    field.get_hcore = lambda *_: basis.one
    field.get_ovlp = lambda *_: np.eye(mean_field)
    field._eri = ao2mo.restore(8, basis.two, mean_field)
    guess = np.zeros((mean_field, mean_field))
    guess[np.arange(electrons // 2), np.arange(electrons // 2)] = 2.0
    field.kernel(dm0=guess)
    doubles = ci.CISD(field)
    doubles.max_cycle = 200
    doubles.kernel()
    matrix = field.mo_coeff @ doubles.make_rdm1() @ field.mo_coeff.T
    occupation, rotation = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return basis.reduced(rotation[:, np.argsort(-occupation)])


def full_ci(problem: Problem, basis: OrbitalBasis, size: int) -> GroundState:
    """The lowest singlet of the first molecule in the first `size` orbitals of a basis.

    Raises:
        RunError: the diagonalisation did not converge.
    """
    from pyscf.fci import direct_spin0

    electrons = int(problem.molecules.electrons[0])
    one = basis.one[:size, :size]
    two = np.ascontiguousarray(basis.two[:size, :size, :size, :size])
    solver = direct_spin0.FCI()
    solver.verbose, solver.conv_tol, solver.max_cycle = 0, 1e-10, 300
    energy, vector = solver.kernel(one, two, size, electrons)
    if not solver.converged:
        raise RunError(f"full CI in {size} orbitals did not converge")
    matrix = solver.make_rdm1(vector, size, electrons)
    u = basis.vectors[:, :size]
    density = np.einsum("np,pq,nq->n", u, matrix, u) / problem.dx
    image = solver.contract_2e(
        solver.absorb_h1e(one, two, size, electrons, 0.5), vector, size, electrons
    )
    residual = float(np.linalg.norm(image - energy * vector))
    natural = np.sort(np.linalg.eigvalsh(matrix))[::-1]
    return GroundState(float(energy), density, residual, natural)
