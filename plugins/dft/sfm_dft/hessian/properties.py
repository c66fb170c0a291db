"""Second derivatives of the energy as observables: polarizability, Hessian, infrared spectrum."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.units import factor
from sfm_dft.hessian.vibrations import polarizability, unknown, vibrations
from sfm_dft.scf.diis import Orbitals
from sfm_dft.scf.energy import EnergyFunctional


def polarizabilities(
    energy: EnergyFunctional, solution: Orbitals | None, smearing: float
) -> dict[str, Float[Tensor, "M ..."]]:
    """The tensors (M, 3, 3) and their means (M,) in bohr^3; NaN without a solution."""
    system = energy.system
    tensor = system.dipole.new_full((len(system), 3, 3), torch.nan)
    if solution is not None:
        tensor = polarizability(energy, solution, smearing=smearing)
    return {
        "polarizability_tensor": tensor,
        "polarizability": tensor.diagonal(dim1=1, dim2=2).mean(1),
    }


def vibrational(
    energy: EnergyFunctional, solution: Orbitals | None, smearing: float
) -> dict[str, Float[Tensor, "1 ..."]]:
    """Hessian (3A, 3A) in eV/angstrom^2, frequencies, infrared intensities; NaN without a solution.

    Raises:
        InputError: several molecules.
    """
    if len(energy.system) != 1:
        raise InputError(
            f"dft/kohn-sham: vibrations take one molecule at a time, not {len(energy.system)}"
        )
    seen = unknown(energy.system.molecules[0])
    if solution is not None:
        seen = vibrations(energy, solution, smearing=smearing)
    return {
        "hessian": seen.hessian[None] * factor("hartree/bohr**2", "eV/angstrom**2"),
        "frequencies": seen.frequencies[None],
        "ir_intensities": seen.intensities[None],
    }
