"""From anywhere into a minimum: FIRE or L-BFGS until it is near, then Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sfm.errors import RunError
from sfm.progress import report
from sfm.simulate.base import Setting
from sfm.simulate.statics.basin import Basin, polish

State = TypeVar("State")
AnyBasin = TypeVar("AnyBasin", bound=Basin)
STRIDE = 10  # steps between two looks
MINIMISER = Setting(
    "minimiser", "fire", ("fire", "lbfgs"), summary="goes down until Newton's method takes over"
)


@dataclass(frozen=True)
class Descent(Generic[State, AnyBasin]):
    """How states of a simulator go downhill.

    Attributes:
        descend: some steps of FIRE or L-BFGS.
        residual: largest component of the gradient that is free to act, eV/angstrom.
        around: the basin around a state.
        state: the state at rest at a basin's reference.
        check: raises where what started has come to nothing.
    """

    descend: Callable[[State, int], State]
    residual: Callable[[State], float]
    around: Callable[[State], AnyBasin]
    state: Callable[[AnyBasin], State]
    check: Callable[[State], None]

    def minimum(
        self, state: State, *, near: float, tolerance: float, max_steps: int, part: str
    ) -> AnyBasin:
        """The basin around the minimum below a state at rest.

        Args:
            near: force at which Newton's method takes over, eV/angstrom.
            tolerance: largest force at the end, eV/angstrom.
            max_steps: of FIRE or L-BFGS.
            part: the simulator, for messages.

        Raises:
            RunError: no minimum within `max_steps`, or what `check` says.
        """
        residual, done = float("inf"), 0
        while done < max_steps:
            while done < max_steps and self.residual(state) > near:
                state = self.descend(state, STRIDE)
                done += STRIDE
                report(f"{part}: relaxation, step", done, max_steps)
                self.check(state)
            basin, residual = polish(self.around(state), tolerance)
            state = self.state(basin)
            self.check(state)
            if residual <= tolerance:
                return basin
            near = min(near, residual) * 0.1
        raise NotRelaxed(
            f"{part}: not relaxed after {done} steps (largest force {residual:.2e} "
            f"eV/angstrom, tolerance {tolerance:.0e}); raise max_steps, or tolerance "
            "if the closure is in float32",
            state,
        )


class NotRelaxed(RunError):
    """No minimum within the steps that were allowed.

    Attributes:
        state: the last one.
    """

    def __init__(self, text: str, state: Any) -> None:
        super().__init__(text)
        self.state = state
