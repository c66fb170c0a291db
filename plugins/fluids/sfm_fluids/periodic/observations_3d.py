"""Files of 3-D flow snapshots: what `sfm simulate` writes and what `sfm fit` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sfm.errors import InputError
from sfm.simulate import Observations
from sfm_fluids.files.snapshots import NAMES, load_snapshots
from sfm_fluids.files.values import standard_error

if TYPE_CHECKING:
    from sfm_fluids.periodic.navier_stokes_3d import NavierStokes3D


def read(simulator: NavierStokes3D, path: Path) -> Observations:
    """Snapshots to fit to.

    The file (.h5 or .npz) holds `velocity` (T, 3, D, H, W) and `times` (T,), increasing multiples
    of the simulator's dt. The flow starts from `initial_velocity` (3, D, H, W) at t = 0 if the
    file has it; else from the first snapshot, which is then taken as exact. `sigma`, a number, is
    the standard error of a velocity component.

    Raises:
        InputError: something is missing, of the wrong shape, between two time steps, in another
            box or between walls.
    """
    arrays, velocity, times = load_snapshots(simulator, path)
    if velocity.ndim == 6 and velocity.shape[1] == 1:  # as `sfm simulate --output` writes it
        velocity = velocity[:, 0]
    if velocity.ndim != 5 or velocity.shape[1] != 3 or times.shape != velocity.shape[:1]:
        raise InputError(
            f"{path}: velocity {velocity.shape} and times {times.shape} are not "
            "(T, 3, D, H, W) and (T,)"
        )
    for name in NAMES:
        if name in arrays and not np.isfinite(arrays[name]).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(arrays[name]))[0])
            raise InputError(f"{path}: '{name}' is not finite at index {where}")
    start = arrays.get("initial_velocity")
    if start is None:
        start, velocity, times = velocity[0], velocity[1:], times[1:] - times[0]
    steps = np.rint(times / simulator.dt).astype(int)
    if len(steps) == 0:
        raise InputError(f"{path}: one snapshot only; a fit needs at least two")
    if np.abs(steps * simulator.dt - times).max() > 1e-6 * max(1.0, float(times.max())):
        raise InputError(f"{path}: times are no multiples of dt={simulator.dt}; set another dt")
    if steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InputError(f"{path}: times do not increase")
    return Observations(
        state=simulator.from_velocity(torch.from_numpy(np.ascontiguousarray(start))),
        values={"velocity": torch.from_numpy(velocity).to(simulator.viscosity)},
        units={"velocity": "1"},
        sigma=standard_error(arrays, "velocity", path),
        options={"steps": tuple(int(s) for s in steps)},
    )
