"""`crystals/equation-of-state`: energy against volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.errors import InputError
from sfm.quantity import ENERGY, Quantity
from sfm.simulate.base import Setting, Trajectory
from sfm_crystals import quantities
from sfm_crystals.cells import Cells
from sfm_crystals.data.prototypes import diamond
from sfm_crystals.figures.statics import plot_curve
from sfm_crystals.simulators import classical
from sfm_crystals.simulators.answering import RELAX, Answering
from sfm_crystals.statics import equation_of_state
from sfm_crystals.statics.fire import LatticeState


class EquationOfState(Answering):
    """Energy of a cell against its volume, with Birch and Murnaghan's fit of third order.

        E(V) = c0 + c1 x + c2 x^2 + c3 x^3,   x = V^(-2/3)

    through `points` cells between 1 - `width` and 1 + `width` times the relaxed volume, of the
    relaxed cell's shape. Atoms stay at their fractional coordinates, or with `relax_points` go to
    the minimum in each of these cells. V0 and E0 are those of the fit, so is the bulk modulus
    B0 = V d2E/dV2 and its derivative B0' = dB/dP.

    `relax_cell=fixed` takes the cell as given for the middle, not relaxed: as in comparisons
    between codes, where volumes are agreed on (K. Lejaeghere et al., Science 351, aad3000, 2016:
    seven cells, 6 %).

    Good values: 7 to 11 points, width 0.06.

    Units: angstrom^3 and eV of the whole cell, GPa. Limits: the shape of the cell is the same at
    all volumes; no temperature (`crystals/quasi-harmonic` has one).

    Source: F. Birch, Phys. Rev. 71, 809 (1947).

    Raises:
        InputError: fewer than 4 points; E(V) has no minimum among the volumes.
    """

    part: ClassVar[str] = "crystals/equation-of-state"
    summary: ClassVar[str] = "energy against volume: V0, B0, B0' by Birch-Murnaghan"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *classical.SETTINGS,
        *RELAX,
        Setting("points", 11, summary="cells, at least 4"),
        Setting("width", 0.06, summary="half the range of volumes, relative"),
        Setting("relax_points", False, (False, True), summary="relax atoms at each volume"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        ENERGY,
        quantities.VOLUME,
        quantities.BULK_MODULUS,
        quantities.BULK_MODULUS_DERIVATIVE,
        quantities.CURVE_VOLUME,
        quantities.CURVE_ENERGY,
    )
    citations: ClassVar[tuple[str, ...]] = (
        *classical.CITATIONS,
        "doi:10.1103/PhysRev.71.809",
        "doi:10.1126/science.aad3000",
    )

    points: int
    width: float
    relax_points: bool

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if self.points < 4:
            raise InputError(f"{self.part}: points={self.points}: use at least 4, usually 11")
        if not 0 < self.width < 0.5:
            raise InputError(f"{self.part}: width={self.width}: between 0 and 0.5, usually 0.06")

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[EquationOfState, LatticeState]:
        """Two atoms of silicon, relaxed."""
        chosen = {"potential": "stillinger-weber", "points": 5, **values}
        simulator = cls(**chosen).requires_grad_(False)
        return simulator, simulator(simulator.state(diamond(14, 5.431, primitive=True)))

    def forward(self, state: LatticeState, steps: int = 1) -> LatticeState:
        """The relaxed cell; `state` itself with `relax_cell=fixed` or no steps."""
        return state if self.relax_cell == "fixed" else super().forward(state, steps)

    def converged(self, state: LatticeState) -> bool:
        """Always: the fit is an answer about any cell in the middle."""
        return True

    def curve(self, state: Cells) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"]]:
        """Volumes (points,) in angstrom^3 and energies (points,) in eV."""
        low, high = 1 - self.width, 1 + self.width
        cells = [*self.at_volumes(state, low, high, self.points, relax=self.relax_points)]
        return torch.cat([c.volume() for c in cells]), torch.cat([self.energy(c) for c in cells])

    def observe(self, state: Cells) -> dict[str, Shaped[Tensor, " ..."]]:
        """Of the fit, () each: energy (eV), volume (angstrom^3), bulk_modulus (GPa) and its
        derivative; the curve, (points,)."""
        volumes, energies = self.curve(state)
        fitted = equation_of_state.fit(volumes, energies)
        return {
            "energy": fitted.energy,
            "volume": fitted.volume,
            "bulk_modulus": fitted.bulk_modulus,
            "bulk_modulus_derivative": fitted.derivative,
            "curve_volume": volumes,
            "curve_energy": energies,
        }

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """E(V) with its fit, and the pressure of the fit."""
        seen = {k: v[-1].detach().cpu() for k, v in trajectory.observables.items()}
        volumes, energies = seen["curve_volume"], seen["curve_energy"]
        n = len(trajectory.states[-1].positions)
        plot_curve(volumes, energies, equation_of_state.fit(volumes, energies), n, path)
