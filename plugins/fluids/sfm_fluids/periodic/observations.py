"""Files of flow snapshots that a solver is fitted to: on a line, in a plane, in a box.

A file (.h5 or .npz, or The Well's .hdf5 with one run) holds `velocity` (T, ...) and `times` (T,),
increasing multiples of the simulator's dt; or what `sfm simulate --output` writes to .npz. `sigma`,
a number, is the standard error of a velocity component.

Velocities and times are in the units of the box.
The run starts from `initial_velocity` at t = 0 if the file has it, which is then taken as exact.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Observations, Simulator
from sfm_fluids.files.snapshots import NAMES, load_snapshots
from sfm_fluids.files.values import standard_error
from sfm_fluids.spectral.coefficients import Coefficients
from sfm_fluids.spectral.grid_2d import vorticity

if TYPE_CHECKING:
    from sfm_fluids.periodic.navier_stokes_3d import NavierStokes3D
    from sfm_fluids.periodic.one_dimensional import OneDimensional
    from sfm_fluids.periodic.plane_flow import PlaneFlow


class Snapshots(NamedTuple):
    """One run of a file.

    Attributes:
        velocity: (T, ...), finite.
        start: the velocity that the run starts from.
        known: whether the file gives the start; else it is the first snapshot.
        steps: of the simulator, from the start to each snapshot.
        sigma: standard error of `velocity`, where it is given.
    """

    velocity: Float[Tensor, "T ..."]
    start: Float[Tensor, " ..."]
    known: bool
    steps: tuple[int, ...]
    sigma: dict[str, float]

    def observed(
        self,
        state: Any,
        like: Float[Tensor, " ..."],
        unknowns: dict[str, Float[Tensor, " ..."]] | None = None,
    ) -> Observations:
        """What a fit compares with, in the precision of `like`."""
        return Observations(
            state=state,
            values={"velocity": self.velocity.to(like)},
            units={"velocity": "1"},
            sigma=self.sigma,
            options={"steps": self.steps},
            unknowns=unknowns or {},
        )


def read_snapshots(simulator: Simulator, path: Path, axes: str) -> Snapshots:
    """The run that a file holds.

    Args:
        simulator: what is to be fitted; its `dt` counts the steps.
        path: the file.
        axes: of one velocity: `N`, `2, H, W` or `3, D, H, W`.

    Raises:
        InputError: something is missing, of the wrong shape, not finite, between two time steps, in
            another box or between walls.
    """
    arrays, velocity, times = load_snapshots(simulator, path)
    names = axes.split(", ")
    if velocity.ndim == len(names) + 2:  # with an axis of flows, as `sfm simulate` writes it
        if velocity.shape[1] != 1:
            raise InputError(f"{path}: holds {velocity.shape[1]} flows; a fit takes one")
        velocity = velocity[:, 0]
    components = velocity.ndim < 2 or not names[0].isdigit() or velocity.shape[1] == int(names[0])
    if velocity.ndim != len(names) + 1 or not components or times.shape != velocity.shape[:1]:
        raise InputError(
            f"{path}: velocity {velocity.shape} and times {times.shape} are not (T, {axes}) and "
            "(T,)"
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
    return Snapshots(
        torch.from_numpy(np.ascontiguousarray(velocity)),
        torch.from_numpy(np.ascontiguousarray(start)),
        known,
        _steps(times, simulator.dt, path),  # type: ignore[arg-type]
        standard_error(arrays, "velocity", path),
    )


def _steps(times: np.ndarray, dt: float, path: Path) -> tuple[int, ...]:
    steps = np.rint(times / dt).astype(int)
    if len(steps) == 0:
        raise InputError(f"{path}: no snapshot")
    if np.abs(steps * dt - times).max() > 1e-6 * max(1.0, float(times.max())):
        raise InputError(f"{path}: times are no multiples of dt={dt}; set another dt")
    if steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InputError(f"{path}: times do not increase")
    return tuple(int(s) for s in steps)


def at_observed_steps(
    simulator: Simulator,
    state: Any,
    observations: Observations,
    velocity: Callable[[Any], Float[Tensor, " ..."]],
) -> dict[str, Float[Tensor, "T ..."]]:
    """`velocity` of the run from `state` at the observed times, (T, ...)."""
    snapshots, done = [], 0
    for step in observations.options["steps"]:
        state = simulator(state, step - done)
        done = step
        snapshots.append(velocity(state))
    return {"velocity": torch.stack(snapshots)}


# --- on a line --------------------------------------------------------------------------------


def read_line(simulator: OneDimensional, path: Path) -> Observations:
    """Fields (T, N) to fit to.

    Without `initial_velocity` (N,) the field at the first time is unknown, the first field an
    observation of it, and it is estimated along with the parameters. Raises as `read_snapshots`.
    """
    snapshots = read_snapshots(simulator, path, "N")
    state = simulator.from_field(snapshots.start)
    coefficients = torch.cat((simulator.pack(state)[0], state.velocity[0].mean(-1, keepdim=True)))
    unknowns = {} if snapshots.known else {"initial_velocity": coefficients}
    return snapshots.observed(state, state.velocity, unknowns)


def predict_line(
    simulator: OneDimensional, observations: Observations
) -> dict[str, Float[Tensor, "T N"]]:
    """The fields at the observed times, (T, N)."""
    state = observations.state
    if "initial_velocity" in observations.unknowns:
        unknown = observations.unknowns["initial_velocity"]
        flat = state._replace(velocity=unknown[-1:].expand(1, simulator.points))
        state = simulator.unpack(unknown[None, :-1], flat)
    return at_observed_steps(simulator, state, observations, lambda s: s.velocity[0])


# --- in a plane -------------------------------------------------------------------------------


def read_plane(simulator: PlaneFlow, path: Path) -> Observations:
    """Snapshots (T, 2, H, W) to fit to.

    Without `initial_velocity` (2, H, W) nothing is exact: the first snapshot is an observation like
    the others, and the flow at its time is estimated along with the parameters. Raises as
    `read_snapshots`.
    """
    snapshots = read_snapshots(simulator, path, "2, H, W")
    start, grid = snapshots.start.to(simulator.viscosity), simulator.points
    state = simulator.from_velocity(start)
    first = Coefficients(grid).pack(vorticity(start, grid), start.mean((-2, -1)))
    unknowns = {} if snapshots.known else {"initial_velocity": first}
    return snapshots.observed(state, simulator.viscosity, unknowns)


def predict_plane(
    simulator: PlaneFlow, observations: Observations
) -> dict[str, Float[Tensor, "T 2 H W"]]:
    """Velocity at the observed times, (T, 2, H, W), from the known or the unknown start."""
    state = observations.state
    if "initial_velocity" in observations.unknowns:
        basis = Coefficients(simulator.points)
        omega, mean = basis.unpack(observations.unknowns["initial_velocity"])
        state = simulator.restarted(state, omega, mean)
    return at_observed_steps(simulator, state, observations, lambda s: simulator.velocity(s)[0])


# --- in a box ---------------------------------------------------------------------------------


def read_box(simulator: NavierStokes3D, path: Path) -> Observations:
    """Snapshots (T, 3, D, H, W) to fit to.

    Without `initial_velocity` (3, D, H, W) the run starts from the first snapshot, which is then
    taken as exact. Raises as `read_snapshots`.
    """
    snapshots = read_snapshots(simulator, path, "3, D, H, W")
    if not snapshots.known:
        later = slice(1, None)
        snapshots = snapshots._replace(
            velocity=snapshots.velocity[later], steps=snapshots.steps[later]
        )
    return snapshots.observed(simulator.from_velocity(snapshots.start), simulator.viscosity)
