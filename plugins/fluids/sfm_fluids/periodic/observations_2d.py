"""Files of flow snapshots: what `sfm simulate` writes and what `sfm fit` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Observations
from sfm_fluids.files.snapshots import NAMES, load_snapshots
from sfm_fluids.files.values import standard_error
from sfm_fluids.spectral.coefficients import Coefficients
from sfm_fluids.spectral.grid_2d import vorticity

if TYPE_CHECKING:
    from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
    from sfm_fluids.staggered.finite_volume_2d import FiniteVolume2D


def read(simulator: NavierStokes2D | FiniteVolume2D, path: Path) -> Observations:
    """Snapshots to fit to.

    The file (.h5 or .npz, or The Well's .hdf5 with one run) holds `velocity` (T, 2, H, W) and
    `times` (T,), increasing multiples of the simulator's dt; or what `sfm simulate --output` writes
    to .npz. `sigma`, a number, is the standard error of a velocity component.

    The flow starts from `initial_velocity` (2, H, W) at t = 0 if the file has it, which is then
    taken as exact. Otherwise nothing is: the first snapshot is an observation like the others, and
    the flow at its time is estimated along with the parameters.

    Raises:
        InputError: something is missing, of the wrong shape, between two time steps, in another
            box or between walls.
    """
    arrays, velocity, times = load_snapshots(simulator, path)
    if velocity.ndim == 5 and velocity.shape[1] > 1:
        raise InputError(f"{path}: holds {velocity.shape[1]} flows; a fit takes one")
    velocity = velocity[:, 0] if velocity.ndim == 5 else velocity
    if velocity.ndim != 4 or velocity.shape[1] != 2 or times.shape != velocity.shape[:1]:
        raise InputError(
            f"{path}: velocity {velocity.shape} and times {times.shape} are not (T, 2, H, W), (T,)"
        )
    for name in NAMES:
        if name in arrays and not np.isfinite(arrays[name]).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(arrays[name]))[0])
            raise InputError(f"{path}: '{name}' is not finite at index {where}")
    start = arrays.get("initial_velocity")
    known = start is not None
    if start is None:
        if len(velocity) < 2:
            raise InputError(f"{path}: one snapshot only; a fit needs at least two")
        start, times = velocity[0], times - times[0]
    steps = np.rint(times / simulator.dt).astype(int)
    if len(steps) == 0:
        raise InputError(f"{path}: no snapshot")
    if np.abs(steps * simulator.dt - times).max() > 1e-6 * max(1.0, float(times.max())):
        raise InputError(f"{path}: times are no multiples of dt={simulator.dt}; set another dt")
    if steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InputError(f"{path}: times do not increase")
    begin = torch.from_numpy(np.ascontiguousarray(start)).to(simulator.viscosity)
    state = simulator.from_velocity(begin)
    values = torch.from_numpy(np.ascontiguousarray(velocity)).to(simulator.viscosity)
    grid = simulator.points
    first = Coefficients(grid).pack(vorticity(begin, grid), begin.mean((-2, -1)))
    return Observations(
        state=state,
        values={"velocity": values},
        units={"velocity": "1"},
        sigma=standard_error(arrays, "velocity", path),
        options={"steps": tuple(int(s) for s in steps)},
        unknowns={} if known else {"initial_velocity": first},
    )


def predict(simulator: NavierStokes2D, observations: Observations) -> dict[str, Tensor]:
    """Velocity at the observed times, (T, 2, H, W), from the known or the unknown start."""
    state, found, done = observations.state, [], 0
    if "initial_velocity" in observations.unknowns:
        basis = Coefficients(simulator.grid)
        omega, mean = basis.unpack(observations.unknowns["initial_velocity"])
        state = state._replace(vorticity=omega[None], mean_velocity=mean[None])
    for step in observations.options["steps"]:
        state = simulator(state, step - done)
        done = step
        found.append(simulator.velocity(state)[0])
    return {"velocity": torch.stack(found)}
