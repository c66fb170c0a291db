"""The Gaussian bases of a molecule as `sfm_dft.integrals.Shells`. Atomic units (hartree, bohr)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.basis import density_basis
from sfm_dft.basis import library as basis
from sfm_dft.integrals import Shells

if TYPE_CHECKING:
    from sfm_dft.scf.molecule import Molecule


@dataclass(frozen=True)
class Gaussians:
    """orbitals: the basis. auxiliary: that of density fitting, None with exact Coulomb integrals.
    projectors: the density basis of a closure, None without one."""

    orbitals: Shells
    auxiliary: Shells | None
    projectors: Shells | None

    @classmethod
    def of(cls, molecule: Molecule) -> Gaussians:
        """Bases of a molecule, at its positions and on its device."""
        numbers, positions = molecule.numbers, molecule.positions
        auxiliary = projectors = None
        if molecule.fitted:
            auxiliary = basis.shells(molecule.auxiliary, numbers, positions)
        if molecule.density_functions is not None:
            projectors = density_basis.shells(numbers, positions)
        return cls(basis.shells(molecule.basis, numbers, positions), auxiliary, projectors)

    @staticmethod
    def unordered(values: Float[Tensor, "A 45"]) -> Float[Tensor, " 45*A"]:
        """(A, 45) in e3nn's order -> (A * 45,) in PySCF's order, differentiable."""
        rotation = torch.tensor(density_basis.atom_rotation()).to(values)
        return (values @ rotation).reshape(-1)
