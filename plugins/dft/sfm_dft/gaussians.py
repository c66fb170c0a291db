"""The Gaussian bases of a Kohn-Sham system as `sfm_dft.integrals.Shells`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfm_dft import density_basis
from sfm_dft.integrals import Shells
from sfm_dft.labelling import AUXILIARY_BASIS, build_molecule

if TYPE_CHECKING:
    from sfm_dft.system import KohnShamSystem


@dataclass(frozen=True)
class Gaussians:
    """orbitals: the basis. auxiliary: that of density fitting, None with exact Coulomb integrals.
    projectors: the density basis of a closure, None without one."""

    orbitals: Shells
    auxiliary: Shells | None
    projectors: Shells | None

    @classmethod
    def of(cls, system: KohnShamSystem) -> Gaussians:
        """Bases of a system, at its positions."""
        from pyscf import df

        molecule = build_molecule(
            system.numbers.numpy(), system.positions.numpy(), system.basis, system.charge, "Bohr"
        )
        fitted = system.coulomb.dim() == 3
        closure = system.density_functions is not None
        return cls(
            Shells.of(molecule),
            Shells.of(df.make_auxmol(molecule, AUXILIARY_BASIS)) if fitted else None,
            Shells.of(density_basis.auxiliary_molecule(molecule)) if closure else None,
        )

    @staticmethod
    def unordered(values: Tensor) -> Tensor:
        """(A, 45) in e3nn's order -> (A * 45,) in PySCF's order, differentiable."""
        rotation = torch.tensor(density_basis.atom_rotation(), dtype=values.dtype)
        return (values @ rotation).reshape(-1)
