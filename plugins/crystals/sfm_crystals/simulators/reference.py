"""What a free energy is measured from: a harmonic crystal, springs, or another potential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.systems import Systems
from sfm.errors import RunError
from sfm.simulate.dynamics import wells
from sfm.simulate.statics.harmonic import mesh, thermal
from sfm_crystals.cells import Cells, EnergyFunction
from sfm_crystals.statics.force_constants import (
    ForceConstants,
    dynamical_matrices,
    force_constants,
    supercell,
)

Forces = Callable[[Systems], tuple[Float[Tensor, " S"], Float[Tensor, "N 3"]]]
"""Energies (S,) eV and forces (N, 3) eV/angstrom of copies of one supercell."""
STILL = 1e-6  # of the stiffest mode: what counts as a drift of the whole


@dataclass(frozen=True, eq=False)
class Reference:
    """The start of the way.

    Attributes:
        sites: (n, 3) angstrom, of one supercell.
        forces: its energies and forces.
        energy: eV, free energy of one given cell in an infinite crystal; None where it is unknown.
    """

    sites: Tensor
    forces: Forces
    energy: float | None


@dataclass(frozen=True, eq=False)
class Phonons(ForceConstants):
    """Second derivatives of the energy of a supercell of one relaxed cell.

    Attributes:
        bottom: eV, of the supercell at rest.
        repeat: cells along each lattice vector.
    """

    bottom: float
    repeat: int

    @staticmethod
    def of(
        energy: EnergyFunction, cell: Cells, masses: Float[Tensor, " n"], repeat: int
    ) -> Phonons:
        """Of a cell at rest, its n masses (n,) amu, and the function that gives energies in eV."""
        with torch.no_grad():
            lattice = supercell(cell.detached(), (repeat,) * 3)
            values = force_constants(energy, lattice, len(cell.positions)).detach()
            bottom = float(energy(lattice.cells)[0])
        return Phonons(lattice, values, masses, bottom, repeat)

    @property
    def cells(self) -> int:
        """Given cells in the supercell."""
        return self.repeat**3

    def _steps(self) -> Tensor:
        """(C, 3) places of the copies, in the order of the supercell's atoms."""
        line = torch.arange(self.repeat)
        return torch.cartesian_prod(line, line, line).reshape(-1, 3)

    def matrix(self) -> Float[Tensor, "K K"]:
        """(3 M, 3 M) eV/angstrom^2, of all atoms of the supercell with all."""
        steps, r = self._steps(), self.repeat
        away = (steps.unsqueeze(0) - steps.unsqueeze(1)) % r
        place = (away * torch.tensor([r * r, r, 1])).sum(2)
        n = len(self.masses)
        rows = self.values.reshape(n, self.cells, n, 3, 3)[:, place]  # (a, c, c', b, i, j)
        whole = rows.permute(1, 0, 4, 2, 3, 5).reshape(3 * n * self.cells, -1)
        return (whole + whole.T) / 2

    def stiffness(self, points: Float[Tensor, "Q 3"]) -> Float[Tensor, "Q B"]:
        """(Q, 3 n) eV/angstrom^2, eigenvalues of force constants at wave vectors (Q, 3)."""
        alike = torch.ones_like(self.masses)
        matrices = dynamical_matrices(self.values, self.lattice, alike, points)
        eigenvalues: Tensor = torch.linalg.eigvalsh(matrices)
        return eigenvalues

    def modes(self) -> Float[Tensor, " K"]:
        """(3 M - 3,) eV/angstrom^2, of the supercell, without its drift.

        Raises:
            RunError: a mode is not stable.
        """
        every = self.stiffness(self._steps().to(self.values) / self.repeat).flatten()
        rest = every[every.abs().argsort()][3:]
        _refuse_soft(rest)
        return rest

    def infinite(self, size: int) -> Float[Tensor, "Q B"]:
        """(Q, 3 n) eV/angstrom^2, on a mesh of `size`^3 wave vectors.

        Raises:
            RunError: a mode is not stable.
        """
        every = self.stiffness(mesh(size).to(self.values))
        _refuse_soft(every)
        return every

    def quantum(self, size: int, temperature: float) -> float:
        """eV of one cell at `temperature` kelvin, with the zero point, without the bottom."""
        seen = self.frequencies(mesh(size))
        return float(thermal(seen, torch.tensor([temperature])).free_energy[0])


def _refuse_soft(stiffness: Tensor) -> None:
    """Refuses modes (...), eV/angstrom^2, that nothing holds."""
    if float(stiffness.min()) <= STILL * float(stiffness.max()):
        raise RunError(
            f"crystals/free-energy: a phonon of stiffness {float(stiffness.min()):.2g} "
            "eV/angstrom^2 is not stable: a harmonic crystal of this cell has no free energy; see "
            "crystals/phonons, or take another volume"
        )


def crystal(
    phonons: Phonons, temperature: float, size: int, *, spring: float | None, quantum: bool
) -> Reference:
    """A crystal of harmonic modes, or of springs, whose free energy is that of infinitely many.

    Args:
        phonons: of the potential at the other end.
        temperature: kelvin.
        size: of the mesh of wave vectors.
        spring: eV/angstrom^2; None for harmonic modes, 0 for the spring with the phonons'
            mean-square displacement.
        quantum: whether its nuclei are.

    Raises:
        RunError: a mode is not stable.
    """
    modes, endless = phonons.modes(), phonons.infinite(size)
    if quantum:
        bulk = phonons.quantum(size, temperature)
    else:
        bulk = float(wells.of_modes(endless, temperature))
        bulk += float(wells.of_momenta(phonons.masses, temperature))
    sites, bottom = phonons.lattice.cells.positions, phonons.bottom
    if spring is None:
        return Reference(
            sites,
            _still(wells.Wells(sites, phonons.matrix(), bottom)),
            bulk + bottom / phonons.cells,
        )
    spring = spring or float(1 / (1 / modes).mean())
    apart = wells.of_springs(len(sites), spring, temperature) - float(
        wells.of_modes(modes, temperature)
    )
    held = wells.Wells(sites, torch.tensor(spring).to(sites), bottom)
    return Reference(sites, _still(held), bulk + (bottom + apart) / phonons.cells)


def _still(held: wells.Wells) -> Forces:
    return lambda systems: held(systems.positions)
