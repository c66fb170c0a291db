"""Harmonic vibrations, their infrared intensities, and the static polarizability. Atomic units.

The Hessian is analytic: all 3 A displacements at once (`sfm_dft.hessian`), or, where levels are
filled by fractions, one response (`sfm_dft.hessian.curvature`) after another. Normal modes are
those of `sfm.simulate.statics.vibrations`; masses are the elements' averages where a sample states
none. An intensity is

    I_k = N_A / (12 eps_0 c^2) |d mu / d Q_k|^2,

the integrated absorption of the harmonic fundamental. The polarizability is the answer of the
dipole moment to a uniform field, alpha = d mu / d eps.

Reference: Wilson, Decius, Cross, Molecular Vibrations (1955).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.progress import report
from sfm.simulate.statics.rigid_motions import internal_directions
from sfm.simulate.statics.vibrations import normal_modes, signed_root
from sfm_dft.gradients.response import coupling, respond, weighting
from sfm_dft.hessian import assemble
from sfm_dft.hessian.curvature import Curvature
from sfm_dft.scf.diis import Orbitals
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.molecule import Molecule

# sqrt(hartree / (bohr^2 amu)) as a wavenumber, and e^2 / amu as an intensity (CODATA 2018)
WAVENUMBER = 5140.487144  # cm^-1
INTENSITY = 974.88011  # km/mol


@dataclass(frozen=True)
class Vibrations:
    """K = 3 A - 6 harmonic vibrations of one molecule (3 A - 5 if it is linear).

    Attributes:
        hessian: (3A, 3A) hartree per bohr^2. dipole_derivatives: (3A, 3) e.
        frequencies: (K,) cm^-1, ascending; a negative one stands for an imaginary one, which a
            geometry that is no minimum has.
        intensities: (K,) km/mol. modes: (K, A, 3) displacements, normalised.
    """

    hessian: Tensor
    dipole_derivatives: Tensor
    frequencies: Tensor
    intensities: Tensor
    modes: Tensor


def hessian(
    energy: EnergyFunctional, solution: Orbitals, *, smearing: float = 0.0
) -> tuple[Float[Tensor, "U U"], Float[Tensor, "U 3"]]:
    """Hessian (3A, 3A) in hartree per bohr^2 and dipole derivatives (3A, 3) in e of one molecule.

    Rows and columns count x, y, z of the first atom, then of the next. The solution must be
    self-consistent; the molecule need not be at a minimum.
    """
    if smearing <= 0.0:
        return assemble.hessian(energy, solution)
    curvature = Curvature(energy, solution, smearing=smearing)
    atoms = len(energy.system.molecules[0].numbers)
    rows, dipoles = [], []
    for k in range(3 * atoms):
        report("vibrations: displacement", k, 3 * atoms)
        unit = torch.zeros_like(curvature.forces).view(-1)
        unit[k] = 1.0
        motion = curvature.move(unit.view(-1, 3))
        rows.append(curvature.along(motion)[0].flatten())
        dipoles.append(curvature.dipole_derivative(motion))
    matrix = torch.stack(rows)
    return 0.5 * (matrix + matrix.mT), torch.stack(dipoles)


def vibrations(
    energy: EnergyFunctional, solution: Orbitals, *, smearing: float = 0.0
) -> Vibrations:
    """Harmonic vibrations of one molecule at a self-consistent solution."""
    (molecule,) = energy.system.molecules
    force_constants, dipoles = hessian(energy, solution, smearing=smearing)
    masses = masses_of(molecule)
    squares, modes = normal_modes(force_constants, molecule.positions, masses)
    slopes = modes.flatten(1) @ dipoles  # with modes per sqrt(amu)
    lengths = modes.flatten(1).norm(dim=1)
    return Vibrations(
        force_constants,
        dipoles,
        WAVENUMBER * signed_root(squares),
        INTENSITY * slopes.square().sum(1),
        modes / lengths[:, None, None],
    )


def unknown(molecule: Molecule) -> Vibrations:
    """The same shapes filled with NaN, for a calculation that has not converged."""
    masses = masses_of(molecule)
    directions = internal_directions(molecule.positions, masses).mT
    nan = torch.full_like(directions, torch.nan)
    square = nan.new_full((nan.shape[1], nan.shape[1]), torch.nan)
    return Vibrations(square, square[:, :3], nan[:, 0], nan[:, 0], nan.unflatten(1, (-1, 3)))


def masses_of(molecule: Molecule) -> Float[Tensor, " A"]:
    """Masses (A,) of the nuclei, amu: the molecule's own, or the elements' averages."""
    return atomic_masses(molecule.numbers) if molecule.masses is None else molecule.masses


def atomic_masses(numbers: Int[Tensor, " A"]) -> Float[Tensor, " A"]:
    """Masses (A,) of the elements, amu: averages over isotopes, ASE's."""
    from ase.data import atomic_masses as table

    return torch.tensor(table, dtype=torch.float64, device=numbers.device)[numbers]


def polarizability(
    energy: EnergyFunctional, solution: Orbitals, *, smearing: float = 0.0
) -> Float[Tensor, "M 3 3"]:
    """Static dipole polarizability (M, 3, 3), bohr^3."""
    system, c = energy.system, solution.coefficients
    weigh, couple = weighting(solution, smearing), coupling(energy, solution)
    rows = []
    for axis in range(3):
        report("polarizability: field", axis, 3)
        right = c.mT @ system.dipole[:, axis, None] @ c  # an electron in a field eps: + eps.r
        y = respond(couple, weigh, right, tolerance=1e-9)
        change = system.total(-(c @ weigh(y) @ c.mT))
        rows.append(-(system.dipole * change[:, None]).sum((-2, -1)))
    tensor = torch.stack(rows, 1)
    return 0.5 * (tensor + tensor.mT)
