"""What the Kohn-Sham simulator observes of a self-consistent field, and of one on its way."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.errors import RunError
from sfm.units import factor
from sfm_dft.gradients.forces import forces
from sfm_dft.gradients.response import attach
from sfm_dft.hessian.properties import polarizabilities, vibrational
from sfm_dft.scf.diis import Orbitals, ScfState, finish
from sfm_dft.scf.energy import EnergyFunctional, total_energy
from sfm_dft.scf.observables import frontier_levels, spin_squared
from sfm_dft.scf.occupation import entropy_energy
from sfm_dft.simulators.kohn_sham_settings import KohnShamSettings


def observe(
    settings: KohnShamSettings, energy: EnergyFunctional, scf: ScfState
) -> dict[str, Shaped[Tensor, "_ ..."]]:
    """Observables (M, ...) in their units; forces of all atoms, (sum of A, 3).

    Of a field that is not self-consistent yet they have no gradient, and those that need a solution
    are NaN.

    Raises:
        RunError: the field is self-consistent, but not for these parameters.
    """
    if not scf.done():
        return _underway(settings, energy, scf)
    total, linked = None, False  # whether there is anything to take derivatives by
    if torch.is_grad_enabled():
        total = energy.total(scf.density_matrix)
        linked = total.requires_grad
    solution = finish(energy, scf, smearing=settings.smearing, create_graph=linked)
    worst = float(solution.residual.max())
    if worst > 10.0 * settings.tolerance:
        raise RunError(
            f"{settings.part}: this state is self-consistent for other parameters or another "
            f"closure (residual {worst:.1e} hartree); advance it first"
        )
    density, fock = solution.density_matrix, solution.fock
    if linked:
        density = attach(energy, solution, smearing=settings.smearing)
        fock = energy.fock(density, create_graph=True)
    observables = _of_density(energy, solution, density, fock, settings.smearing, total)
    if settings.forces:
        unit = factor("hartree/bohr", "eV/angstrom")
        observables["forces"] = forces(energy, density, fock) * unit
    return observables | _second_derivatives(settings, energy, solution)


def _underway(
    settings: KohnShamSettings, energy: EnergyFunctional, scf: ScfState
) -> dict[str, Tensor]:
    solution = finish(energy, scf, smearing=settings.smearing)
    density, fock = solution.density_matrix, solution.fock
    with torch.no_grad():
        observables = _of_density(energy, solution, density, fock, settings.smearing)
    if settings.forces:
        atoms = torch.cat([molecule.positions for molecule in energy.system.molecules])
        observables["forces"] = torch.full_like(atoms, torch.nan)
    return observables | _second_derivatives(settings, energy, None)


def _second_derivatives(
    settings: KohnShamSettings, energy: EnergyFunctional, solution: Orbitals | None
) -> dict[str, Tensor]:
    """Polarizability and vibrations where they are asked for; NaN without a solution."""
    observables: dict[str, Tensor] = {}
    if settings.polarizability:
        observables |= polarizabilities(energy, solution, settings.smearing)
    if settings.vibrations:
        observables |= vibrational(energy, solution, settings.smearing)
    return observables


def _of_density(
    energy: EnergyFunctional,
    solution: Orbitals,
    density: Tensor,
    fock: Tensor,
    smearing: float,
    total: Tensor | None = None,
) -> dict[str, Tensor]:
    """Observables (M, ...) of a density matrix, which may carry a graph, as may `fock`.

    `total` is the energy at fixed density, and needs no graph through `density`, because it is
    stationary there. An orbital level is <i|F|i> with the orbital held fixed
    (Hellmann-Feynman), F depending on `density`.
    """
    parts = energy.components(density)
    total = total_energy(parts) if total is None else total
    if smearing > 0.0:
        entropy = entropy_energy(solution.filling, smearing)
        total = total + energy.system.share * entropy.sum(-1)
    homo, lumo = frontier_levels(energy.system, solution, fock)
    atomic = {
        "energy": total,
        "kinetic_energy": parts["kinetic"],
        "external_energy": parts["external"],
        "hartree_energy": parts["hartree"],
        "xc_energy": parts["exchange"] + parts["correlation"] + parts["closure"],
        "nuclear_energy": parts["nuclear"],
        "dispersion_energy": parts["dispersion"],
        "homo": homo,
        "lumo": lumo,
        "scf_residual": solution.residual,
    }
    observables = {name: value * factor("hartree", "eV") for name, value in atomic.items()}
    observables["dipole"] = energy.dipole(density) * factor("e*bohr", "e*angstrom")
    observables["spin_squared"] = spin_squared(energy.system, density)
    return observables
