"""The Gaussian integrals of one molecule, by libcint or in torch. Atomic units (hartree, bohr)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from sfm.errors import InputError
from sfm_dft import integrals as torch_integrals
from sfm_dft.basis import density_basis
from sfm_dft.basis import library as basis_sets

MAX_EXACT_ORBITALS = 60


def by_libcint(molecule: Any, coulomb: str, auxiliary: str, closure: bool) -> dict[str, Any]:
    """Everything by libcint, as arrays by the names of `Molecule`; hartree, bohr."""
    kinetic = molecule.intor_symmetric("int1e_kin")
    integrals = {
        "overlap": molecule.intor_symmetric("int1e_ovlp"),
        "kinetic": kinetic,
        "core": kinetic + molecule.intor_symmetric("int1e_nuc"),
        "dipole": molecule.intor_symmetric("int1e_r", comp=3),
        "coulomb": _coulomb(molecule, coulomb, auxiliary),
    }
    if closure:
        integrals["density_functions"] = density_basis.overlap_integrals(molecule)
    return integrals


@torch.no_grad()
def by_torch(
    basis: Any,
    numbers: Int[Tensor, " A"],
    positions: Float[Tensor, "A 3"],
    auxiliary: str,
    closure: bool,
) -> dict[str, Any]:
    """The same in torch, with density fitting, on the device of the nuclei.

    numbers: (A,). positions: (A, 3).
    """
    shells = basis_sets.shells(basis, numbers, positions)
    kinetic = torch_integrals.kinetic(shells)
    try:
        functions = basis_sets.shells(auxiliary, numbers, positions)
    except InputError as error:
        raise InputError(f"integrals='torch': {auxiliary} has {error}; use 'libcint'") from None
    integrals: dict[str, Any] = {
        "overlap": torch_integrals.overlap(shells),
        "kinetic": kinetic,
        "core": kinetic + torch_integrals.nuclear(shells, numbers.to(positions.dtype)),
        "dipole": torch_integrals.dipole(shells),
        "coulomb": torch_integrals.fitted_factors(shells, functions),
    }
    if closure:
        projectors = density_basis.shells(numbers, positions)
        values = torch_integrals.three_centre_overlap(shells, projectors)
        rotation = torch.tensor(density_basis.atom_rotation(), device=positions.device)
        stacked = values.permute(2, 0, 1).unflatten(0, (-1, density_basis.DIM))
        integrals["density_functions"] = torch.einsum("pq,aqij->apij", rotation, stacked)
    return integrals


def as_tensor(array: Any, device: torch.device) -> Shaped[Tensor, " ..."]:
    """A float64 tensor on the device, of the same shape and unit; a tensor keeps its dtype."""
    if isinstance(array, Tensor):
        return array.to(device).contiguous()
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float64, device=device)


def _coulomb(molecule: Any, kind: str, auxiliary: str) -> np.ndarray:
    from pyscf import df

    n = molecule.nao
    if kind == "exact":
        if n > MAX_EXACT_ORBITALS:
            raise InputError(
                f"{n} orbitals: exact Coulomb integrals would need {8 * n**4 / 1e9:.1f} GB; "
                "set coulomb='fitted'"
            )
        integrals: np.ndarray = molecule.intor("int2e").reshape(n * n, n * n)
        return integrals
    functions = df.make_auxmol(molecule, auxiliary)
    three = df.incore.aux_e2(molecule, functions, "int3c2e").reshape(n * n, -1)
    triangle = np.linalg.cholesky(functions.intor("int2c2e"))
    return np.linalg.solve(triangle, three.T).reshape(-1, n, n)
