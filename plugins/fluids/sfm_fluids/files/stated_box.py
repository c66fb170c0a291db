"""The box that a file of observations states, held against the simulator's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfm.errors import InputError
from sfm.simulate import Simulator
from sfm_fluids import box
from sfm_fluids.files.values import number


def check_file(simulator: Simulator, arrays: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of observations in another box; its arrays state `length_x`, `boundary_x`, ...

    Raises:
        InputError: walls or open ends, or another length.
    """
    for axis in box.AXES:
        kind = str(arrays.get(f"boundary_{axis}", "periodic"))
        if kind != "periodic":
            raise InputError(
                f"{path}: has the boundary '{kind}' along {axis}; {simulator.part} takes periodic "
                "fields only"
            )
    check_file_lengths(simulator, arrays, path)


def check_file_lengths(simulator: Simulator, arrays: Mapping[str, Any], path: Path) -> None:
    """Its lengths alone.

    Raises:
        InputError: another length than the simulator's.
    """
    names = [f"length_{axis}" for axis in box.AXES]
    lengths = {name: number(arrays[name], name, str(path)) for name in names if name in arrays}
    if hasattr(simulator, "length") and "length_x" in lengths:
        lengths = {"length": lengths["length_x"]}
    box.compare(simulator, lengths, str(path))
