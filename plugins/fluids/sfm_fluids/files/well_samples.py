"""Between The Well's files and ours: recorded runs and samples to `WellData` and back.

Numbers keep the units of the file and the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Trajectory
from sfm_fluids.files.well import AXES, WellData

PERIODIC = ("PERIODIC", "PERIODIC")


def from_trajectory(
    trajectory: Trajectory,
    coordinates: Mapping[str, Float[np.ndarray, " _"]],
    *,
    name: str,
    boundaries: Mapping[str, tuple[str, str]],
    scalars: Mapping[str, Any] | None = None,
) -> WellData:
    """All flows of a recorded run.

    Args:
        trajectory: observables (T, B, ...). Those whose last axes are the grid's become fields,
            the numbers (T, B) scalars that vary in time; anything else is left out.
        coordinates: by axis, x first: (n,).
        name: of the data set, such as the simulator's part name.
        boundaries: by axis, what is at the low and the high end: WALL, OPEN or PERIODIC. There is
            no default.
        scalars: parameters of the simulation.

    Raises:
        InputError: no observable is a field on this grid.
    """
    space = tuple(len(x) for x in reversed(list(coordinates.values())))
    fields, numbers = {}, {}
    for key, value in trajectory.observables.items():
        array = value.detach().cpu().double().numpy().swapaxes(0, 1)
        components = array.shape[2 : array.ndim - len(space)]
        if array.shape[-len(space) :] == space and set(components) <= {len(space)}:
            if len(components) <= 2:
                fields[key] = array
        elif array.ndim == 2:
            numbers[key] = array
    if not fields:
        raise InputError(f"{name}: no observable has the grid's shape {space}")
    data = WellData(
        name=name,
        coordinates=coordinates,
        times=trajectory.times.double().numpy(),
        boundaries=boundaries,
        fields=fields,
        scalars={**(scalars or {}), **numbers},
    )
    data.check(name)
    return data


def from_samples(
    trajectories: Mapping[str, Sequence[Sample]],
    *,
    name: str,
    boundaries: Mapping[str, tuple[str, str]],
    scalars: Sequence[str] = (),
) -> WellData:
    """Samples by trajectory (each in order of the condition `time`) as one file.

    Args:
        trajectories: such as `sfm_fluids.flows.trajectories.trajectories(data)` gives; all on
            one grid and equally long.
        name: of the data set.
        boundaries: as for `from_trajectory`.
        scalars: conditions to keep, one number per trajectory.

    Raises:
        InputError: nothing there, trajectories of different lengths, grids or fields.
    """
    runs = list(trajectories.values())
    if not runs or not runs[0]:
        raise InputError(f"{name}: no samples")
    first = runs[0][0]
    dimensions = len(boundaries)
    if first.cell is None:
        raise InputError(f"{first.id}: no cell, so the grid has no lengths")
    try:
        fields = {
            key: np.stack([np.stack([s.fields[key] for s in run]) for run in runs])
            for key in first.fields
        }
        times = np.array([[s.conditions["time"] for s in run] for run in runs])
        constants = {k: np.array([run[0].conditions[k] for run in runs]) for k in scalars}
    except (KeyError, ValueError) as error:
        raise InputError(f"{name}: the trajectories differ or lack something: {error}") from None
    shape = next(iter(fields.values())).shape[-dimensions:]
    sizes = dict(zip(AXES, reversed(shape), strict=False))
    data = WellData(
        name=name,
        coordinates={
            a: np.arange(n) * (first.cell[i, i] / n) for i, (a, n) in enumerate(sizes.items())
        },
        times=times,
        boundaries=boundaries,
        fields=fields,
        scalars=constants,
    )
    data.check(name)
    return data


def to_samples(data: WellData, stem: str) -> list[Sample]:
    """One sample per run and time: all fields, and the scalars as conditions.

    Ids are `stem:step` for one run and `stem:run:step` for several. The cell is the box, in the
    file's own unit of length, and periodic where the file says so.
    """
    lengths = list(data.lengths().values())
    cell = np.diag([*lengths, 1.0, 1.0][:3])
    pbc = np.zeros(3, dtype=bool)
    pbc[: data.dimensions] = [data.boundaries[a] == PERIODIC for a in data.coordinates]
    steps = data.times.shape[-1]
    samples = []
    for run in range(data.runs):
        times = data.times if data.times.ndim == 1 else data.times[run]
        for step in range(steps):
            middle = f":{run}" if data.runs > 1 else ""
            samples.append(
                Sample(
                    id=f"{stem}{middle}:{step}",
                    domain="fluids",
                    cell=cell,
                    pbc=pbc,
                    fields={
                        **{k: v[run, step] for k, v in data.fields.items()},
                        **{k: v[run] for k, v in data.constant_fields.items()},
                    },
                    conditions={
                        **{k: _at(v, run, step) for k, v in data.scalars.items()},
                        "time": float(times[step]),
                    },
                )
            )
    return samples


def _at(value: Any, run: int, step: int) -> float:
    array = np.asarray(value)
    if array.ndim == 2:
        return float(array[run if len(array) > 1 else 0, step])
    return float(array[run] if array.ndim else array)
