"""The state of the Kohn-Sham simulator: molecules and their self-consistent fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.units import factor
from sfm_dft.basis import density_basis
from sfm_dft.scf.diis import ScfState
from sfm_dft.scf.molecule import Molecule
from sfm_dft.scf.system import KohnShamSystem


@dataclass(frozen=True)
class KohnShamState:
    """Molecules and how far their self-consistent fields have come.

    ``batched`` says whether observables keep an axis of molecules.
    """

    system: KohnShamSystem
    scf: ScfState
    batched: bool = False

    @property
    def time(self) -> float:
        """Number of Fock matrices built so far, of the slowest molecule."""
        return float(self.scf.cycles.max())

    @property
    def converged(self) -> bool:
        """Whether every molecule is self-consistent."""
        return self.scf.done()

    @property
    def molecule(self) -> Molecule:
        """The molecule of a state that holds one."""
        if len(self.system) != 1:
            raise InputError(f"this takes one molecule, and the state holds {len(self.system)}")
        return self.system.molecules[0]

    def density_matrix(self, index: int = 0) -> Float[Tensor, "n n"]:
        """(n, n) of all electrons of one molecule."""
        return self.system.block_of(self.system.total(self.scf.density_matrix), index)

    def density_at(
        self, points: Float[np.ndarray, "K 3"], index: int = 0
    ) -> Float[np.ndarray, " K"]:
        """Electron density (K,) of one molecule at points (K, 3) in angstrom, e / angstrom^3."""
        bohr = factor("angstrom", "bohr")
        molecule = self.system.molecules[index]
        return molecule.density_at(self.density_matrix(index), points * bohr) * bohr**3

    def density_coefficients(self, index: int = 0) -> Float[np.ndarray, "A 45"]:
        """The density fitted by atom-centred functions (A, 45): `sfm_dft.basis.density_basis`."""
        matrix = self.density_matrix(index).detach().cpu().numpy()
        return density_basis.fit(self.system.molecules[index].pyscf(), matrix)
