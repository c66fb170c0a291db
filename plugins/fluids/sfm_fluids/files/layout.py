"""From arrays of a file to samples: components, axes, snapshots, box, boundaries, the rest.

A velocity is (2, H, W) or (3, D, H, W) or on a line (N,), with an axis of time before it, and
another of several runs, (T, B, ...), as `sfm simulate --output` writes. Component 0 is along the
last axis (x), 1 along y, 2 along z. It may come as one array per component: `u`, `v`, `w`.

Numbers keep the units of the file and the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from sfm.data.sample import Sample
from sfm.errors import InputError, WrongDomain
from sfm.units import convert
from sfm_fluids.files.content import Content
from sfm_fluids.files.values import number, text

AXES = ("x", "y", "z")
COMPONENTS = (
    ("u", "v", "w"),
    ("ux", "uy", "uz"),
    ("u_x", "u_y", "u_z"),
    ("vx", "vy", "vz"),
    ("v_x", "v_y", "v_z"),
    ("velocity_x", "velocity_y", "velocity_z"),
)
NAMED_AXES = {"time": "time", "t": "time", **{a: a for a in AXES}}
ANGLES = ("lat", "lon", "latitude", "longitude")
BOUNDARY = ("periodic", "wall", "open")
TIMES = ("times", "time", "t")
SHAPES = "(2, H, W), (3, D, H, W) or (N,), with an axis of time before it"


class Flow(NamedTuple):
    """A velocity (T, B, d, [D,] H, W), or (T, B, N) on a line; d axes in space."""

    velocity: np.ndarray
    dimensions: int
    moving: bool  # the file has an axis of time


def composed(content: Content) -> Content:
    """The content with components made into one `velocity`, and axes in our order.

    Raises:
        InputError: components on different grids, or axes in degrees.
    """
    arrays = {k: _ordered(k, v, content) for k, v in content.arrays.items()}
    if "velocity" in arrays:
        return Content(content.where, arrays, content.attributes)
    lower = {name.lower(): name for name in arrays}
    for names in COMPONENTS:
        components = [lower[n] for n in names if n in lower]
        if not components or components[0].lower() != names[0]:
            continue
        parts = [arrays[n] for n in components]
        if len({p.shape for p in parts}) > 1:
            shapes = ", ".join(f"{n} {p.shape}" for n, p in zip(components, parts, strict=True))
            raise InputError(
                f"{content.where}: {shapes}: components on different grids; interpolate them to "
                "one first"
            )
        rest = {k: v for k, v in arrays.items() if k not in components}
        if len(parts) == 1:
            return Content(content.where, {**rest, "velocity": parts[0]}, content.attributes)
        if parts[0].ndim < len(parts):
            raise InputError(
                f"{content.where}: {len(parts)} components of shape {parts[0].shape}; give each "
                "on a grid of as many axes"
            )
        velocity = np.stack(parts, axis=-len(parts) - 1)
        return Content(content.where, {**rest, "velocity": velocity}, content.attributes)
    return Content(content.where, arrays, content.attributes)


def _ordered(name: str, array: np.ndarray, content: Content) -> np.ndarray:
    """Axes as (time, others, z, y, x), where the file names them."""
    names = [axis.lower() for axis in content.axes.get(name, ())]
    if any(axis in ANGLES for axis in names):
        raise InputError(
            f"{content.where}: '{name}' lies on {' x '.join(names)}, in degrees; only cartesian "
            "grids can be read"
        )
    known = [NAMED_AXES.get(axis, "") for axis in names]
    if array.ndim < 2 or not any(axis in AXES for axis in known):
        return array
    rank = {"time": 0, "": 1, "z": 2, "y": 3, "x": 4}
    order = sorted(range(array.ndim), key=lambda i: (rank[known[i]], i))
    return array.transpose(order)


def dimensions_of(shape: tuple[int, ...]) -> int:
    """Axes in space of a velocity of this shape: 1, 2 or 3; 0 if it is none.

    A grid has four points a side or more: what is shorter is no axis in space.
    """
    ndim = len(shape)
    if 3 <= ndim <= 5 and shape[-3] == 2 and shape[-2] > 1:
        return 2
    if 4 <= ndim <= 6 and shape[-4] == 3:
        return 3
    return 1 if 1 <= ndim <= 2 or (ndim == 3 and shape[-2] == 1) else 0


def flow_of(velocity: Shaped[np.ndarray, " ..."], where: str) -> Flow:
    """What the axes of a velocity are, such as (T, 2, H, W).

    Raises:
        InputError: none of the shapes that are known, no numbers, no snapshot, or not finite.
    """
    if velocity.dtype.kind not in "fiu":
        raise InputError(f"{where}: 'velocity' holds {velocity.dtype}, not numbers")
    shape = velocity.shape
    dimensions = dimensions_of(shape)
    if not dimensions:
        raise InputError(f"{where}: 'velocity' has shape {shape}, not {SHAPES}")
    if 0 in shape:
        raise InputError(f"{where}: 'velocity' of shape {shape} holds no snapshot")
    lead = len(shape) - dimensions - (dimensions > 1)
    velocity = velocity.astype(np.float64)
    if not np.isfinite(velocity).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(velocity))[0])
        raise InputError(f"{where}: 'velocity' is not finite at index {index}")
    space = shape[lead:]
    whole = velocity.reshape(*(shape[:lead] + (1,) * (2 - lead)), *space)
    return Flow(whole, dimensions, lead > 0)


def lengths_of(content: Content, sizes: Mapping[str, int]) -> dict[str, float]:
    """Length of the box by axis, from `length_x` or from coordinates `x`; {} if none is stated.

    Where cells are square but for the rounding of float32 they are made so.

    Raises:
        InputError: a length that is not one positive number, coordinates that are not evenly
            spaced, a contradiction, or one axis without a length.
    """
    stated = {**content.attributes, **content.arrays}
    lengths: dict[str, float] = {}
    for axis, size in sizes.items():
        names = (f"length_{axis}", "length") if len(sizes) == 1 else (f"length_{axis}",)
        for name in names:
            if name in stated:
                lengths[axis] = number(stated[name], name, content.where)
                if lengths[axis] <= 0:
                    raise InputError(f"{content.where}: {name}={lengths[axis]} must be positive")
        coordinates = content.arrays.get(axis)
        if coordinates is None or np.shape(coordinates) != (size,):
            continue
        whole = size * _gap(coordinates, axis, content.where)
        if axis in lengths and abs(whole / lengths[axis] - 1) > 1e-3:
            raise InputError(
                f"{content.where}: length_{axis}={lengths[axis]:g}, but {size} points "
                f"{whole / size:g} apart make {whole:g}"
            )
        lengths.setdefault(axis, whole)
    if not lengths:
        return {}
    spacing = {a: lengths[a] / sizes[a] for a in lengths}
    first = next(iter(spacing.values()))
    for axis in sizes:  # only one length: cells are square
        lengths.setdefault(axis, first * sizes[axis])
        if abs(lengths[axis] / sizes[axis] / first - 1) < 1e-6:
            lengths[axis] = first * sizes[axis]
    return {axis: lengths[axis] for axis in sizes}


def _gap(x: np.ndarray, axis: str, where: str) -> float:
    gaps = np.diff(np.asarray(x, dtype=np.float64))
    if len(gaps) == 0 or not (gaps > 0).all():
        raise InputError(f"{where}: coordinates '{axis}' do not increase")
    mean = (float(x[-1]) - float(x[0])) / len(gaps)
    if np.abs(gaps / mean - 1).max() > 1e-3:
        raise InputError(
            f"{where}: coordinates '{axis}' are not evenly spaced; interpolate the field first"
        )
    return mean


def boundaries_of(content: Content, axes: tuple[str, ...]) -> dict[str, str]:
    """`boundary_x`, ... where they are stated: periodic, wall or open.

    Raises:
        InputError: another word.
    """
    stated = {**content.attributes, **content.arrays}
    kinds = {}
    for axis in axes:
        name = f"boundary_{axis}"
        if name in stated:
            kinds[axis] = text(stated[name]).lower()
            if kinds[axis] not in BOUNDARY:
                raise InputError(
                    f"{content.where}: {name}='{kinds[axis]}' is none of {', '.join(BOUNDARY)}"
                )
    return kinds


def to_samples(content: Content, stem: str) -> list[Sample]:  # noqa: C901
    """One sample per snapshot and run.

    Without a length the sample has no cell: simulators take their own box. Velocities are
    periodic where the file does not say `boundary_x="wall"` or `"open"`.

    Raises:
        WrongDomain: no velocity and no permeability.
        InputError: wrong shapes, numbers or units.
    """
    content = composed(content)
    where = content.where
    if "velocity" in content.arrays:
        flow = flow_of(content.arrays["velocity"], where)
        velocity = flow.velocity * _scale(content)
        space = velocity.shape[-flow.dimensions :]
    elif np.ndim(content.arrays.get("permeability", 0.0)) == 2:
        flow, velocity, space = None, None, content.arrays["permeability"].shape
    else:
        known = ", ".join(content.arrays) or "none"
        raise WrongDomain(
            f"{where}: no dataset 'velocity' of shape {SHAPES}, nor 'u', 'v' (found: {known})"
        )
    axes = AXES[: len(space)]
    sizes = dict(zip(axes, reversed(space), strict=True))
    lengths, boundaries = lengths_of(content, sizes), boundaries_of(content, axes)
    cell, pbc = None, np.zeros(3, dtype=bool)
    if lengths:
        cell = np.diag([*lengths.values(), 1.0, 1.0][:3])
        default = "periodic" if flow is not None else "wall"
        pbc[: len(axes)] = [boundaries.get(a, default) == "periodic" for a in axes]
    elif any(kind != "periodic" for kind in boundaries.values()):
        raise InputError(f"{where}: states boundaries but no box; give length_x as well")
    others = dict(_others(content, space, axes))
    if flow is None or velocity is None:
        conditions = _conditions(content, axes, 1)
        return [_sample(stem, cell, pbc, others, conditions)]
    steps, runs = velocity.shape[:2]
    times = _times(content, steps)
    samples = []
    for run in range(runs):
        for step in range(steps):
            name = stem + (f":{run}" if runs > 1 else "") + (f":{step}" if steps > 1 else "")
            fields = {"velocity": velocity[step, run]}
            for key, array in others.items():
                mine = array
                if flow.moving and array.ndim > len(space) and len(array) == steps:
                    mine = array[step]
                if mine.ndim > len(space) and len(mine) == runs > 1:
                    mine = mine[run]
                fields[key] = mine
            conditions = _conditions(content, axes, steps, step)
            if times is not None:
                conditions["time"] = float(times[step])
            samples.append(_sample(name, cell, pbc, fields, conditions))
    return samples


def _sample(name: str, cell: Any, pbc: Any, fields: Any, conditions: Any) -> Sample:
    return Sample(
        id=name, domain="fluids", cell=cell, pbc=pbc, fields=fields, conditions=conditions
    )


def _scale(content: Content) -> float:
    """1, or the factor of a unit without dimension."""
    unit = "1"
    for name in ("unit", "units"):
        unit = text(content.attributes.get(name, content.arrays.get(name, unit)))
    if unit in ("1", ""):
        return 1.0
    try:
        return convert(1.0, unit, "1")
    except InputError:
        raise InputError(
            f"{content.where}: velocity in '{unit}'; divide it by a velocity scale, so that the "
            "unit is '1'"
        ) from None


def _others(
    content: Content, space: tuple[int, ...], axes: tuple[str, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays besides the velocity that end in the grid's axes."""
    for name, array in content.arrays.items():
        if name == "velocity" or array.dtype.kind not in "fiub" or array.ndim < len(space):
            continue
        if array.shape[-len(space) :] == space and name not in (*axes, *TIMES):
            yield name, array.astype(np.float64) if array.dtype.kind != "b" else array


def _conditions(
    content: Content, axes: tuple[str, ...], steps: int, step: int = 0
) -> dict[str, float]:
    """Numbers that the file states besides the box; of series over time that of this step.

    Raises:
        InputError: `reynolds` or another that physics needs is no number.
    """
    known = {*(f"length_{a}" for a in AXES), "length", *AXES, *TIMES, "unit", "units", "velocity"}
    conditions = {}
    for name, value in {**content.attributes, **content.arrays}.items():
        if name in known or name.startswith(("boundary_", "_")) or name.endswith(".unit"):
            continue
        array = np.asarray(value)
        if name in NUMBERS or (array.size == 1 and array.dtype.kind in "fiu"):
            conditions[name] = number(value, name, content.where)
        elif array.shape in ((steps,), (steps, 1)) and array.dtype.kind in "fiu" and steps > 1:
            conditions[name] = number(array[step], name, content.where)
    return conditions


NUMBERS = ("reynolds", "viscosity", "drag", "interval")


def _times(content: Content, steps: int) -> np.ndarray | None:
    for name in TIMES:
        array = content.arrays.get(name)
        if array is not None and array.dtype.kind in "fiu" and array.size == steps:
            return array.reshape(-1).astype(np.float64)
    return None
