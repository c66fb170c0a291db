"""Simulators whose answer belongs to the relaxed cell: elastic constants, phonons and the like."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate.base import Parameter, Trajectory
from sfm.simulate.statics.descent import MINIMISER
from sfm_crystals.cells import Cells
from sfm_crystals.simulators import classical, relaxing
from sfm_crystals.statics.fire import LatticeState

RELAX = (relaxing.RELAX_CELL, relaxing.TOLERANCE, relaxing.MAX_STEPS, MINIMISER)


class Answering(relaxing.Relaxing):
    """One step relaxes the cell, atoms and lattice; what is observed belongs to that cell.

    More steps change nothing. The answer follows the parameters of the potential and the closure,
    through the relaxed cell too, and not the cell that the search began with.
    """

    parameters_spec: ClassVar[tuple[Parameter, ...]] = classical.PARAMETERS
    default_steps: ClassVar[int] = 1

    def state(self, sample: Sample | None = None) -> LatticeState:
        """One cell: of a sample, or the potential's own crystal.

        Raises:
            InputError: a cell that is not periodic in three directions, or atoms that are fixed,
                which the relaxation would have to move.
        """
        state = super().state(sample)
        if state.free is not None:
            raise InputError(
                f"{state.samples[0].id}: some atoms are fixed, and {self.part} is about a cell at "
                "rest; free them, or take crystals/lattice"
            )
        return state

    def forward(self, state: LatticeState, steps: int = 1) -> LatticeState:
        """The relaxed cell (0 steps: `state` itself).

        Raises:
            RunError: no minimum is found; see `relax`.
        """
        if steps == 0:
            return state
        relaxed = self.relax(state)
        return relaxed.replace(iteration=torch.ones_like(relaxed.iteration))

    def at_volumes(
        self, state: Cells, low: float, high: float, points: int, *, relax: bool
    ) -> Iterator[Cells]:
        """The cell at `points` volumes from `low` to `high` times its own, of the same shape.

        Args:
            relax: whether atoms go to the minimum in each; else they keep their fractional
                coordinates.
        """
        sizes = torch.linspace(low, high, points, dtype=torch.float64) ** (1 / 3)
        for size in sizes.tolist():
            moved = state.stretched(size)
            yield self.relax(moved, "fixed") if relax and len(state.positions) > 1 else moved

    def converged(self, state: LatticeState) -> bool:
        """Whether nothing pulls harder than `relaxing.RELAXED`."""
        return self.residual(state) <= relaxing.RELAXED

    def remarks(self, observed: Mapping[str, Shaped[Tensor, " ..."]]) -> tuple[str, ...]:
        """What the user should know about the last answer, (...) in the units of `observables`."""
        return ()

    def _recorded(
        self, states: Sequence[LatticeState], observed: Sequence[Mapping[str, Tensor]]
    ) -> Trajectory:
        trajectory = super()._recorded(states, observed)
        said = (*trajectory.warnings, *self.remarks(observed[-1]))
        return dataclasses.replace(trajectory, warnings=said)

    def run(self, state: LatticeState, steps: int, *, every: int | None = None) -> Trajectory:
        """The relaxed cell and its answer; with `every`, those of the cells before it too."""
        if every is not None or steps < 1:
            return super().run(state, steps, every=every)
        last = self(state, steps)
        return self._recorded([last], [self.observe(last)])
