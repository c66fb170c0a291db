"""Files of flow snapshots: what `sfm simulate` writes and what `sfm fit` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Observations, Trajectory

from ..periodic.coefficients import Coefficients
from ..periodic.grid import Grid
from .readers import load_arrays
from .well import write_well
from .well_samples import PERIODIC, from_trajectory

if TYPE_CHECKING:
    from ..periodic.navier_stokes_2d import NavierStokes2D


def write_flow(
    trajectory: Trajectory,
    grid: Grid,
    path: Path,
    *,
    name: str = "flow",
    scalars: Mapping[str, float] | None = None,
) -> None:
    """Write a run on a doubly periodic grid.

    `.h5` and `.npz` hold the first flow: `velocity` (T, 2, H, W), `times` (T,), `length_x` and
    `length_y`. `.hdf5` is a file of The Well with all flows and all observables, float32.

    Args:
        trajectory: with the observable `velocity` (T, B, 2, H, W).
        grid: its grid.
        path: the file.
        name: data set name in The Well's file.
        scalars: parameters of the simulation, for The Well's file.

    Raises:
        InputError: the suffix is neither .h5, .hdf5 nor .npz.
    """
    if path.suffix.lower() == ".hdf5":
        x, y = grid.coordinates()
        data = from_trajectory(
            trajectory,
            {"x": x[0].numpy(), "y": y[:, 0].numpy()},
            name=name,
            boundaries={"x": PERIODIC, "y": PERIODIC},
            scalars=scalars,
        )
        write_well(path, data)
        return
    velocity = trajectory.observables["velocity"][:, 0].detach().cpu().numpy()
    times = trajectory.times.numpy()
    lengths = {"length_x": grid.length_x, "length_y": grid.length_y}
    if path.suffix.lower() == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["velocity"], file["times"] = velocity, times
            file["velocity"].attrs["unit"] = "1"
            file.attrs.update(lengths)
    elif path.suffix.lower() == ".npz":
        np.savez_compressed(
            path,
            velocity=velocity,
            times=times,
            length_x=np.array(grid.length_x),
            length_y=np.array(grid.length_y),
        )
    else:
        raise InputError(f"{path}: write flows to .h5, .hdf5 or .npz, not '{path.suffix}'")


def read(simulator: NavierStokes2D, path: Path) -> Observations:
    """Snapshots to fit to.

    The file (.h5 or .npz, or The Well's .hdf5 with one run) holds `velocity` (T, 2, H, W) and
    `times` (T,), increasing multiples of the simulator's dt; or what `sfm simulate --output` writes
    to .npz. `sigma`, a number, is the standard error of a velocity component.

    The flow starts from `initial_velocity` (2, H, W) at t = 0 if the file has it, which is then
    taken as exact. Otherwise nothing is: the first snapshot is an observation like the others, and
    the flow at its time is estimated along with the parameters.

    Raises:
        InputError: something is missing, of the wrong shape, or between two time steps.
    """
    names = ("velocity", "times", "time", "initial_velocity", "sigma", "length_x", "length_y")
    arrays = load_arrays(path, names)
    velocity, times = arrays.get("velocity"), arrays.get("times", arrays.get("time"))
    if velocity is None or times is None:
        missing = "velocity" if velocity is None else "times"
        raise InputError(f"{path}: no dataset '{missing}'; a fit needs velocity and times")
    if velocity.ndim == 5 and velocity.shape[1] > 1:
        raise InputError(f"{path}: holds {velocity.shape[1]} flows; a fit takes one")
    velocity = velocity[:, 0] if velocity.ndim == 5 else velocity
    if velocity.ndim != 4 or velocity.shape[1] != 2 or times.shape != velocity.shape[:1]:
        raise InputError(
            f"{path}: velocity {velocity.shape} and times {times.shape} are not (T, 2, H, W), (T,)"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise InputError(f"{path}: '{name}' is not finite at index {where}")
    for name in ("length_x", "length_y"):
        here, given = getattr(simulator, name), float(arrays.get(name, getattr(simulator, name)))
        if abs(given - here) > 1e-6 * here:
            raise InputError(f"{path}: {name} is {given:g} there and {here:g} here; set {name}")
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
    state = simulator.from_velocity(torch.from_numpy(np.ascontiguousarray(start)))
    values = torch.from_numpy(np.ascontiguousarray(velocity)).to(simulator.viscosity)
    basis = Coefficients(simulator.grid)
    first = basis.pack(state.vorticity[0], state.mean_velocity[0])
    return Observations(
        state=state,
        values={"velocity": values},
        units={"velocity": "1"},
        sigma={"velocity": float(arrays["sigma"])} if "sigma" in arrays else {},
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
