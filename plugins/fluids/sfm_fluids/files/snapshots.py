"""The arrays of a file of snapshots that a solver is fitted to, held against the solver's box.

Numbers keep the units of the file and the run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from sfm.errors import InputError
from sfm.simulate import Simulator
from sfm_fluids.files.readers import load_flow
from sfm_fluids.files.stated_box import check_file

NAMES = ("velocity", "times", "time", "initial_velocity", "sigma")


def load_snapshots(
    simulator: Simulator, path: Path
) -> tuple[
    dict[str, Shaped[np.ndarray, " ..."]], Shaped[np.ndarray, " ..."], Shaped[np.ndarray, " ..."]
]:
    """All arrays by name, the velocities (T, ...) and their times (T,), shapes not checked.

    Raises:
        InputError: unreadable, no velocity or times, another box than the simulator's, or walls.
    """
    arrays = load_flow(path, NAMES)
    check_file(simulator, arrays, path)
    velocity, times = arrays.get("velocity"), arrays.get("times", arrays.get("time"))
    if velocity is None or times is None:
        missing = "velocity" if velocity is None else "times"
        raise InputError(f"{path}: no dataset '{missing}'; a fit needs velocity and times")
    return arrays, velocity, times
