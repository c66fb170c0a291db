"""The way to self-consistency: DIIS first, second order where it fails, down from saddle points."""

from __future__ import annotations

from dataclasses import dataclass

from sfm_dft.scf.diis import ScfState, iterate
from sfm_dft.scf.energy import EnergyFunctional
from sfm_dft.scf.newton import newton
from sfm_dft.scf.stability import stabilise

DIIS_CYCLES = 20  # what an ordinary molecule needs, with room to spare
SOLVERS = ("auto", "diis", "second-order")


@dataclass(frozen=True)
class Solver:
    """How a self-consistent field is looked for.

    Attributes:
        kind: `diis` alone, `second-order` after one cycle, or `auto`: after `DIIS_CYCLES`. With
            smearing DIIS alone.
        max_cycles: in all, those of Newton steps included. tolerance: largest residual, hartree.
        level_shift, smearing: hartree, of DIIS.
        stability: whether a saddle point is left for a minimum.
    """

    kind: str
    max_cycles: int
    tolerance: float
    level_shift: float
    smearing: float
    stability: bool

    @property
    def diis_cycles(self) -> int:
        """Cycles of DIIS before the second order takes over."""
        if self.kind == "diis" or self.smearing > 0.0:
            return self.max_cycles
        return 1 if self.kind == "second-order" else DIIS_CYCLES

    def advance(self, energy: EnergyFunctional, start: ScfState, cycles: int) -> ScfState:
        """At most ``cycles`` more, within `max_cycles`; ``start`` itself where nothing moves."""
        used = 0 if start.done() else int(start.cycles.max())
        left = min(cycles, self.max_cycles - used)
        first = max(0, min(left, self.diis_cycles - used))
        state = iterate(
            energy,
            start,
            first,
            tolerance=self.tolerance,
            level_shift=self.level_shift,
            smearing=self.smearing,
        )
        if left > first and not state.done():
            state = newton(energy, state, left - first, tolerance=self.tolerance)
        if self.stability and state.done() and state is not start:
            left = self.max_cycles - int(state.cycles.max())
            state = stabilise(energy, state, left, tolerance=self.tolerance)
        return state
