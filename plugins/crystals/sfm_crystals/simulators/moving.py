"""Simulators of crystals whose atoms move: the energy and forces of periodic cells in motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.data.tokens import system_sum
from sfm.errors import InputError
from sfm.simulate.base import Setting
from sfm.simulate.dynamics.neighbours import VerletList
from sfm.simulate.dynamics.pairwise import pair_sums
from sfm.simulate.dynamics.simulator import Dynamics
from sfm_crystals.cells import Cells
from sfm_crystals.data.prototypes import repeated
from sfm_crystals.potentials.lennard_jones import LennardJones
from sfm_crystals.simulators import classical

RAHMAN = {"temperature": 94.4, "dt": 10.0}  # liquid argon, A. Rahman (1964); K, fs
DT = Setting("dt", 1.0, unit="fs", summary="time step; 10 for lennard-jones unless given")
REPEAT = Setting("repeat", 1, summary="copies of the cell along each lattice vector")
SKIN = Setting("skin", 1.0, unit="angstrom", summary="of the neighbour list, beyond the cutoff")


class Moving(classical.Classical, Dynamics):
    """Dynamics under a classical potential and a closure; a subclass has `DT`, `REPEAT`, `SKIN`
    among its settings.

    Closed-form forces serve Lennard-Jones; pairs come from a list that is rebuilt when atoms have
    moved half of `skin`.

    Raises:
        InputError: potential `none` without a closure, a skin or number of copies of no sense.
    """

    usual: ClassVar[Mapping[str, float]] = RAHMAN
    repeat: int
    skin: float

    def __init__(self, *, closure: nn.Module | None = None, **values: Any) -> None:
        settled = self.set_up(closure, values)
        if settled["potential"] == "lennard-jones":
            settled = {**self.usual, **settled}
        super().__init__(closure=closure, **settled)
        self.load(values)
        if not self.skin > 0:
            raise InputError(f"{self.part}: skin={self.skin}: use more than 0")
        if self.repeat < 1:
            raise InputError(f"{self.part}: repeat={self.repeat}: use 1 or more")
        self.neighbours = VerletList(self.skin)

    def cells_of(self, sample: Sample | Sequence[Sample]) -> list[Sample]:
        """The samples, `repeat` times along each lattice vector.

        Raises:
            InputError: a cell that is not periodic, or several kinds of atom for a classical
                potential.
        """
        given = [sample] if isinstance(sample, Sample) else list(sample)
        self.check(given)
        return [repeated(one, self.repeat) for one in given]

    def potential_energy(self, systems: Systems) -> Float[Tensor, " S"]:
        """(S,) eV of what has no forces in closed form."""
        cells = Cells.of(systems)
        x, h = cells.positions[:, 0], cells.cell[:, 0, 0]
        none = 0 * h + 0 * system_sum(x, cells.system, cells.n_systems)
        if self.potential != "lennard-jones":
            return none + self.energy(cells)
        return none + self.added(cells) if self.adds else none

    def evaluate(
        self, systems: Systems, virial: bool
    ) -> tuple[Float[Tensor, " S"], Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]]:
        """As `Dynamics.evaluate`; Lennard-Jones in closed form."""
        if self.potential != "lennard-jones":
            return super().evaluate(systems, virial)
        x, cell, reach = systems.positions, systems.cell, self.cutoff * self.sigma
        pairs = self.neighbours(x, cell, systems.system, float(reach.detach()))
        radial = LennardJones(self.cutoff, self.switch)
        parameters = (self.epsilon, self.sigma)
        values, forces, work = pair_sums(radial, pairs, x, cell, parameters, virial=virial)
        if self.adds:
            more = super().evaluate(systems, virial)
            return values + more[0], forces + more[1], work + more[2]
        return values, forces, work
