"""Relaxed cells as a fixed point: atoms and lattice as the coordinates of a basin.

`sfm.simulate.statics.basin` goes to its minimum and differentiates it. Coordinates y are the
displacements of the atoms and the strain times a length (`sfm_crystals.statics.fire`).
"""

from __future__ import annotations

import copy
import dataclasses
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm.simulate.statics.basin import Basin
from sfm_crystals.cells import Cells, EnergyFunction
from sfm_crystals.statics.fire import strain_length

CELL_MODES = ("full", "volume", "fixed")


class CellBasin(Basin):
    """Coordinates around reference cells, in which H has a gradient and a Hessian.

    Args:
        enthalpy: (S,) eV of cells.
        cells: the reference, at y = 0.
        mode: what the lattice may do: `full` strain, `volume` only, or `fixed`.
        move_atoms: whether atoms may move inside the cell.
    """

    what: ClassVar[str] = "cell"

    def __init__(self, enthalpy: EnergyFunction, cells: Cells, mode: str, move_atoms: bool) -> None:
        self.enthalpy = enthalpy
        self.cells = cells.detached()
        self.mode, self.move_atoms = mode, move_atoms
        self.length = strain_length(self.cells)[:, None, None]
        self.n_atoms = self.cells.positions.shape[0]
        self.origin = torch.zeros(
            self.n_atoms + 3 * self.cells.n_systems, 3, dtype=cells.cell.dtype
        ).to(cells.cell.device)

    def at(self, y: Float[Tensor, "rows 3"]) -> Cells:
        """The cells at the coordinates y, (N + 3 S, 3) angstrom."""
        strain = y[self.n_atoms :].reshape(-1, 3, 3) / self.length
        return self.cells.deformed(y[: self.n_atoms], strain)

    def energy(self, y: Float[Tensor, "rows 3"]) -> Float[Tensor, " S"]:
        """(S,) the enthalpy in eV at the coordinates y, (N + 3 S, 3) angstrom."""
        return self.enthalpy(self.at(y))

    def around(self, y: Float[Tensor, "rows 3"]) -> CellBasin:
        """The basin whose reference is at y, (N + 3 S, 3) angstrom."""
        return CellBasin(self.enthalpy, self.at(y), self.mode, self.move_atoms)

    def within(self, cell: Float[Tensor, "S 3 3"]) -> CellBasin:
        """The same basin in lattices (S, 3, 3) angstrom that have a graph, equal to its own.

        Atoms are at their fractional coordinates: what follows the lattice then moves them too.
        """
        inside = (
            self.cells.positions.unsqueeze(1) @ torch.linalg.inv(self.cells.cell)[self.cells.system]
        )
        places = (inside @ cell[self.cells.system]).squeeze(1)
        basin = copy.copy(self)
        basin.cells = dataclasses.replace(self.cells, positions=places, cell=cell)
        return basin

    def project(self, y: Float[Tensor, "rows 3"]) -> Float[Tensor, "rows 3"]:
        """Remove what does not count or must not change: translations, rotations, frozen parts."""
        u, w = y[: self.n_atoms], y[self.n_atoms :].reshape(-1, 3, 3)
        if self.move_atoms:
            count = self.cells.counts().to(u.dtype).unsqueeze(1)
            mean = system_sum(u, self.cells.system, self.cells.n_systems) / count
            mean = mean.masked_fill(self.cells.pinned(), 0.0)  # nothing slides past a fixed atom
            u = self.cells.moving(u - mean[self.cells.system])
        else:
            u = torch.zeros_like(u)
        if self.mode == "full":
            w = (w + w.mT) / 2
        elif self.mode == "volume":
            trace = w.diagonal(dim1=1, dim2=2).mean(1)
            w = trace[:, None, None] * torch.eye(3, dtype=w.dtype, device=w.device)
        else:
            w = torch.zeros_like(w)
        return torch.cat([u, w.reshape(-1, 3)])
