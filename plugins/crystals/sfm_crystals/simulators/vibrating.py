"""Simulators of cells that vibrate: force constants of a supercell, and sums over a mesh."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate.base import Setting
from sfm.simulate.dynamics.particles import masses_of
from sfm_crystals.cells import Cells
from sfm_crystals.simulators.answering import Answering
from sfm_crystals.statics.force_constants import ForceConstants, force_constants, supercell

SETTINGS = (
    Setting("repeat", 4, summary="copies of the cell along each vector, for force constants"),
    Setting("mesh", 12, summary="wave vectors along each axis, even, for sums over phonons"),
    Setting("hottest", 1000.0, unit="kelvin", summary="last temperature of the grid"),
    Setting("temperatures", 21, summary="temperatures from 0 to `hottest`"),
)
UNSTABLE = -0.05  # THz; rounding leaves the acoustic ones at 1e-5


class Vibrating(Answering):
    """A simulator of relaxed cells with phonons; a subclass has `SETTINGS` among its settings.

    Raises:
        InputError: settings of supercell, mesh and temperatures that make no sums.
    """

    repeat: int
    mesh: int
    hottest: float
    temperatures: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.repeat < 1 or self.mesh < 2 or self.mesh % 2:
            raise InputError(
                f"{self.part}: repeat={self.repeat}, mesh={self.mesh}: at least 1, and even from "
                "2 on"
            )
        if not self.hottest > 0 or self.temperatures < 2:
            raise InputError(
                f"{self.part}: hottest={self.hottest} kelvin, temperatures={self.temperatures}: "
                "above 0, 2 or more"
            )

    def kelvin(self) -> Float[Tensor, " T"]:
        """(T,) the grid of temperatures, in kelvin."""
        return torch.linspace(0, self.hottest, self.temperatures, dtype=torch.float64)

    def force_constants(self, state: Cells) -> ForceConstants:
        """Of one cell in its supercell; with a graph if anybody will differentiate them."""
        lattice = supercell(state, (self.repeat,) * 3)
        with torch.set_grad_enabled(self._differentiable(state)):
            values = force_constants(self.energy, lattice, len(state.positions))
        return ForceConstants(lattice, values, masses_of(state.samples)[:, 0].to(state.cell))
