"""The settings of every simulator that steps: what its backward pass keeps and what it redoes."""

from __future__ import annotations

from sfm.errors import InputError
from sfm.simulate import Setting, Simulator

CHECKPOINTS = (
    Setting("recompute", True, (True, False), summary="redo steps in the backward pass"),
    Setting("segment", 1, summary="keep each segment-th state for the backward pass"),
)


def check_steps(simulator: Simulator) -> None:
    """Refuse a step of no length and checkpoints that are none.

    Raises:
        InputError: `dt` is not positive or `segment` below 1.
    """
    dt, segment = simulator.dt, simulator.segment
    if not dt > 0:  # type: ignore[operator]
        raise InputError(f"{simulator.part}: dt={dt} must be positive")
    if segment < 1:  # type: ignore[operator]
        raise InputError(f"{simulator.part}: segment={segment} must be at least 1")
