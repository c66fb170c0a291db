"""The Gaussian bases of a molecule as `sfm_dft.integrals.Shells`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfm_dft import density_basis
from sfm_dft.integrals import Shells

if TYPE_CHECKING:
    from sfm_dft.molecule import Molecule


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
        from pyscf import df

        device = molecule.positions.device
        made = molecule.pyscf()
        auxiliary = df.make_auxmol(made, molecule.auxiliary) if molecule.fitted else None
        closure = molecule.density_functions is not None
        projectors = density_basis.auxiliary_molecule(made) if closure else None
        return cls(
            Shells.of(made, device=device),
            None if auxiliary is None else Shells.of(auxiliary, device=device),
            None if projectors is None else Shells.of(projectors, device=device),
        )

    @staticmethod
    def unordered(values: Tensor) -> Tensor:
        """(A, 45) in e3nn's order -> (A * 45,) in PySCF's order, differentiable."""
        rotation = torch.tensor(density_basis.atom_rotation()).to(values)
        return (values @ rotation).reshape(-1)
