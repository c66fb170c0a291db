"""The energy of a closure of projections of the density, and its derivatives.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.units import factor
from sfm_dft.scf.energy import DensityFeatures, EnergyFunctional


def potential(energy: EnergyFunctional, d: Float[Tensor, "s n n"]) -> Float[Tensor, "A 45"]:
    """Derivative of the closure's energy by the projections, hartree, (A, 45)."""
    (molecule,) = energy.system.molecules
    with torch.enable_grad():
        graph = d.requires_grad
        p = molecule.projections(energy.system.total(d[None])[0])
        p = p if graph else p.detach().requires_grad_()
        value = closure_energy(energy, p, molecule.positions)
        (v,) = torch.autograd.grad(value, p, create_graph=graph)
    return v


def closure_gradient(energy: EnergyFunctional, d: Float[Tensor, "s n n"]) -> Float[Tensor, "A 3"]:
    """Derivative of the closure's energy by the positions that it reads itself, (A, 3)."""
    (molecule,) = energy.system.molecules
    with torch.enable_grad():
        r = molecule.positions.detach().requires_grad_()
        p = molecule.projections(energy.system.total(d[None])[0])
        value = closure_energy(energy, p, r)
        if not value.requires_grad:
            return torch.zeros_like(r)
        (slope,) = torch.autograd.grad(value, r, create_graph=d.requires_grad, allow_unused=True)
    return torch.zeros_like(r) if slope is None else slope


def closure_energy(
    energy: EnergyFunctional, projections: Float[Tensor, "A 45"], positions: Float[Tensor, "A 3"]
) -> Float[Tensor, ""]:
    """Energy () in hartree of a closure that reads projections (A, 45) and positions in bohr."""
    (molecule,) = energy.system.molecules
    assert energy.closure is not None
    features = DensityFeatures(
        projections,
        molecule.numbers,
        positions * factor("bohr", "angstrom"),
        float(molecule.charge),
    )
    return cast(Tensor, energy.closure(features).reshape(()) * factor("eV", "hartree"))
