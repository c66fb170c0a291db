"""What a Kohn-Sham calculation needs of one molecule, as torch tensors: integrals and grid.

`preparation` makes it. All of it is constant here: derivatives by positions are the business of
`sfm_dft.gradients.forces`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError
from sfm_dft.basis import library as basis_sets
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.grid.molecular import BLOCK, Grid
from sfm_dft.scf.guesses import first_density
from sfm_dft.scf.minao import minimal_density
from sfm_dft.scf.molecular_integrals import as_tensor
from sfm_dft.xc.dispersion import d3


@dataclass(frozen=True, eq=False)
class Molecule:
    """One molecule in a Gaussian basis. Atomic units (hartree, bohr), float64. Never changed.

    Attributes:
        numbers: (A,) atomic numbers. positions: (A, 3) bohr. charge: total charge, e.
        spin: number of unpaired electrons.
        overlap, core, kinetic: (n, n); core is kinetic plus nuclear attraction.
        dipole: (3, n, n), <mu|r|nu> about the origin.
        coulomb: (P, n, n) fitted factors, (mu nu|la si) = sum_P L_P,mn L_P,ls, or (n^2, n^2) exact
            four-centre integrals (O. Vahtras, J. Almloef and M. W. Feyereisen, Chem. Phys. Lett.
            213, 514, 1993).
        grid: points, weights and orbital values.
        density_functions: (A, 45, n, n) overlaps <mu|phi_Ak|nu> with the density basis, or None.
        guess: (n, n) density matrix of all electrons to start from.
        nuclear: nuclear repulsion, hartree.
        basis, auxiliary: what `prepare` was given, to make the functions again elsewhere.
        masses: (A,) amu, where they are not the elements' averages.
    """

    numbers: Int[Tensor, " A"]
    positions: Float[Tensor, "A 3"]
    charge: int
    spin: int
    overlap: Float[Tensor, "n n"]
    core: Float[Tensor, "n n"]
    kinetic: Float[Tensor, "n n"]
    dipole: Float[Tensor, "3 n n"]
    coulomb: Float[Tensor, " ..."]
    grid: Grid
    density_functions: Float[Tensor, "A 45 n n"] | None
    guess: Float[Tensor, "n n"]
    nuclear: float
    basis: Any
    auxiliary: str
    masses: Float[Tensor, " A"] | None = None

    @property
    def orbitals(self) -> int:
        """Number n of orbitals."""
        return len(self.overlap)

    @property
    def electrons(self) -> tuple[int, int]:
        """Electrons of either spin, up first."""
        count = int(self.numbers.sum()) - self.charge
        return (count + self.spin) // 2, (count - self.spin) // 2

    @property
    def fitted(self) -> bool:
        """Whether Coulomb integrals are density-fitted."""
        return self.coulomb.dim() == 3

    def to(self, device: torch.device | str) -> Molecule:
        """The same on another device."""
        tensors: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, (Tensor, Grid))
        }
        return replace(self, **tensors)

    def density_at(
        self, density_matrix: Float[Tensor, "n n"], points: Float[np.ndarray, "K 3"]
    ) -> Float[np.ndarray, " K"]:
        """Density (K,) of a matrix (n, n) at points (K, 3) in bohr, electrons per bohr^3."""
        matrix, values_at = self.grid.sort(density_matrix.detach()), []
        for part in torch.as_tensor(points).to(matrix).split(BLOCK):
            (values,) = self.grid.jets(0, part, self.positions)
            values_at.append(((matrix @ values) * values).sum(0))
        return torch.cat(values_at).cpu().numpy() if values_at else np.zeros(0)

    def superposed_atoms(self) -> Float[Tensor, "n n"]:
        """Density matrix (n, n) of free atoms side by side, in a minimal basis."""
        if not basis_sets.has_pyscf():
            shells = basis_sets.shells(self.basis, self.numbers, self.positions)
            return minimal_density(shells, self.numbers)
        return as_tensor(first_density(self.pyscf(), "minao"), self.positions.device)

    def pyscf(self) -> Any:
        """The PySCF molecule.

        Raises:
            InputError: PySCF is not installed.
        """
        if not basis_sets.has_pyscf():
            raise InputError("this part of dft/kohn-sham needs PySCF: pip install pyscf")
        numbers, positions = self.numbers.cpu().numpy(), self.positions.cpu().numpy()
        return build_molecule(numbers, positions, self.basis, self.charge, "Bohr", spin=self.spin)

    def hartree_matrix(self, total: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
        """Coulomb matrix J (n, n) of a density matrix (n, n) of all electrons."""
        if not self.fitted:
            return (self.coulomb @ total.reshape(-1)).reshape(total.shape)
        flat = self.coulomb.flatten(1)
        return ((flat @ total.reshape(-1)) @ flat).reshape(total.shape)

    def exchange_matrix(self, density_matrix: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
        """Exchange matrix K (n, n) of a density matrix (n, n): K_mn = (m l|n s) D_ls."""
        n = len(density_matrix)
        if not self.fitted:
            integrals = self.coulomb.reshape(n, n, n, n).transpose(1, 2).reshape(n * n, n * n)
            return (integrals @ density_matrix.reshape(-1)).reshape(n, n)
        half = self.coulomb @ density_matrix
        exchange: Tensor = torch.tensordot(half, self.coulomb, dims=([0, 2], [0, 2]))
        return exchange

    @cached_property
    def _dispersion(self) -> dict[str, Tensor]:
        return {}

    def dispersion(
        self, functional: str | None, positions: Float[Tensor, "A 3"] | None = None
    ) -> Float[Tensor, ""]:
        """D3(BJ) energy with a functional's parameters, () hartree; zero without one.

        positions: (A, 3) bohr elsewhere, differentiable.
        """
        if functional is None:
            return self.positions.new_zeros(())
        if positions is not None:
            return d3(self.numbers, positions, functional)
        if functional not in self._dispersion:
            self._dispersion[functional] = d3(self.numbers, self.positions, functional)
        return self._dispersion[functional]

    def projections(self, total: Float[Tensor, "n n"]) -> Float[Tensor, "A 45"]:
        """Projections of a density matrix of all electrons on the density basis, (A, 45)."""
        if self.density_functions is None:
            raise InputError("this molecule was prepared without the density basis (closure=False)")
        functions = self.density_functions
        return functions.reshape(*functions.shape[:2], -1) @ total.reshape(-1)
