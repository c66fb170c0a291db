"""Files of fields on a line, for `sfm fit`."""

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

if TYPE_CHECKING:
    from sfm_fluids.periodic.one_dimensional import OneDimensional


def read(simulator: OneDimensional, path: Path) -> Observations:
    """Fields to fit to.

    The file (.npz or .h5) holds `velocity` (T, N) and `times` (T,), increasing multiples of the
    simulator's dt; or (T, 1, N) and `time`, as `sfm simulate --output` writes them. `sigma`, a
    number, is the standard error of a value. The run starts from `initial_velocity` (N,) at t = 0
    if the file has it, which is then taken as exact; else the field at the first time is unknown,
    the first field an observation of it, and it is estimated along with the parameters.

    Raises:
        InputError: something is missing, of the wrong shape, not finite, between two time steps,
            on a line of another length or one that is not periodic.
    """
    arrays, velocity, times = load_snapshots(simulator, path)
    velocity = velocity[:, 0] if velocity.ndim == 3 and velocity.shape[1] == 1 else velocity
    if velocity.ndim != 2 or times.shape != velocity.shape[:1]:
        raise InputError(
            f"{path}: velocity {velocity.shape} and times {times.shape} are not (T, N) and (T,)"
        )
    for name in NAMES:
        if name in arrays and not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: '{name}' holds numbers that are not finite")
    start = arrays.get("initial_velocity")
    known = start is not None
    if start is None:
        if len(velocity) < 2:
            raise InputError(f"{path}: one field only; a fit needs at least two")
        start, times = velocity[0], times - times[0]
    if len(times) == 0:
        raise InputError(f"{path}: no field")
    steps = np.rint(times / simulator.dt).astype(int)
    if np.abs(steps * simulator.dt - times).max() > 1e-6 * max(1.0, float(times.max())):
        raise InputError(f"{path}: times are no multiples of dt={simulator.dt}; set another dt")
    if steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InputError(f"{path}: times do not increase")
    state = simulator.from_field(torch.from_numpy(np.ascontiguousarray(start)))
    coefficients = torch.cat((simulator.pack(state)[0], state.velocity[0].mean(-1, keepdim=True)))
    return Observations(
        state=state,
        values={"velocity": torch.from_numpy(np.ascontiguousarray(velocity)).to(state.velocity)},
        units={"velocity": "1"},
        sigma=standard_error(arrays, "velocity", path),
        options={"steps": tuple(int(s) for s in steps)},
        unknowns={} if known else {"initial_velocity": coefficients},
    )


def predict(simulator: OneDimensional, observations: Observations) -> dict[str, Tensor]:
    """The fields at the observed times, (T, N)."""
    state, found, done = observations.state, [], 0
    if "initial_velocity" in observations.unknowns:
        unknown = observations.unknowns["initial_velocity"]
        flat = state._replace(velocity=unknown[-1:].expand(1, simulator.points))
        state = simulator.unpack(unknown[None, :-1], flat)
    for step in observations.options["steps"]:
        state = simulator(state, step - done)
        done = step
        found.append(state.velocity[0])
    return {"velocity": torch.stack(found)}
