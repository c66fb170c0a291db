"""The box and the parameters that a sample or a file states, against those of a simulator.

They are taken (`stated`), or what contradicts them is refused (`check`), or what a run leaves out
is said (`say_unused`).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning
from sfm.simulate import Simulator

AXES = {"x": "width", "y": "height", "z": "depth"}
SAME = 1e-5  # relative; coordinates are often float32


def lengths(sample: Sample, dimensions: int) -> dict[str, float]:
    """Length of the sample's box by axis; {} if it states none.

    Raises:
        InputError: the box is not a rectangle along the axes.
    """
    if sample.cell is None:
        return {}
    edges = np.diag(sample.cell)
    if np.abs(sample.cell - np.diag(edges)).max() > 1e-9 * np.abs(edges).max() or edges.min() <= 0:
        raise InputError(f"{sample.id}: its box is not a rectangle along x, y, z")
    return {axis: float(edges[i]) for i, axis in enumerate(list(AXES)[:dimensions])}


def stated(
    cls: type[Simulator], sample: Sample, field: str, dimensions: int, given: Collection[str]
) -> dict[str, Any]:
    """Settings and parameters of `cls` that the sample states and nobody gave.

    Its grid, its box, and conditions that are called like a parameter.

    Raises:
        InputError: a velocity with walls or open ends.
    """
    if field == "velocity":
        check_periodic(sample, dimensions, cls.part)
    settings = {s.name for s in cls.settings_spec}
    of_sample: dict[str, Any] = {}
    shape = np.shape(sample.fields.get(field, 0.0))[-dimensions:]
    if len(shape) == dimensions and not {"grid"} & set(given):
        for axis, size in zip(AXES, reversed(shape), strict=False):
            of_sample["points" if dimensions == 1 else AXES[axis]] = int(size)
    box = lengths(sample, dimensions)
    for axis, length in box.items():
        of_sample["length" if dimensions == 1 else f"length_{axis}"] = length
    of_sample = {name: value for name, value in of_sample.items() if name in settings}
    if not box and not any(name.startswith("length") for name in given):
        defaults = [s for s in cls.settings_spec if s.name.startswith("length")]
        sizes = " x ".join(f"{s.default:.6g}" for s in defaults)
        warnings.warn(
            f"{sample.id}: states no box; taken as {sizes}; --set {defaults[0].name}=... says "
            "otherwise",
            InputWarning,
            stacklevel=3,
        )
    for parameter in cls.parameters_spec:
        if parameter.name in sample.conditions:
            of_sample[parameter.name] = sample.conditions[parameter.name]
    return {name: value for name, value in of_sample.items() if name not in given}


def stating(simulator: Simulator) -> dict[str, float]:
    """The lengths of a simulator's box, by the names that files state them with."""
    names = [s.name for s in simulator.settings_spec]
    return {n: float(getattr(simulator, n)) for n in names if n.startswith("length")}


def check_periodic(sample: Sample, dimensions: int, who: str) -> None:
    """Refuse a sample with walls or open ends.

    Raises:
        InputError: it states a box that is not periodic along some axis.
    """
    if sample.cell is None:
        return
    ends = [a for i, a in enumerate(list(AXES)[:dimensions]) if not sample.pbc[i]]
    if ends:
        raise InputError(
            f"{sample.id}: has walls or open ends along {' and '.join(ends)}; {who} takes periodic "
            "fields only"
        )


def square_spacing(sample: Sample, who: str, field: str = "velocity") -> float | None:
    """Size of the cells of a plane field; None if the sample states no box.

    Raises:
        InputError: they are not square.
    """
    box = lengths(sample, 2)
    if not box:
        return None
    height, width = sample.fields[field].shape[-2:]
    dx: float = box["x"] / width
    dy: float = box["y"] / height
    if abs(dx / dy - 1) > SAME:
        raise InputError(
            f"{sample.id}: its cells are {dx:.4g} x {dy:.4g}, and {who} needs square ones; "
            "interpolate the field first"
        )
    return dx


def check(simulator: Simulator, sample: Sample, dimensions: int) -> None:
    """Refuse a sample whose box is not the simulator's.

    Raises:
        InputError: walls or open ends, or another length; it is named.
    """
    check_periodic(sample, dimensions, simulator.part)
    check_lengths(simulator, sample, dimensions)


def check_lengths(simulator: Simulator, sample: Sample, dimensions: int) -> None:
    """Refuse a sample whose box has other lengths than the simulator's.

    Raises:
        InputError: another length; it is named.
    """
    box = lengths(sample, dimensions)
    named = {f"length_{a}" if dimensions > 1 else "length": n for a, n in box.items()}
    compare(simulator, named, sample.id)


def compare(simulator: Simulator, box: Mapping[str, float], where: str) -> None:
    """Refuse lengths, by name, that are not the simulator's.

    Raises:
        InputError: another length; `where` it is stated and how to set it are said.
    """
    for name, there in box.items():
        here = getattr(simulator, name, None)
        if here is not None and abs(there / here - 1) > SAME:
            raise InputError(
                f"{where}: {name} is {there:.6g} there and {here:.6g} here; set {name}={there:.6g}"
            )


def say_unused(simulator: Simulator, sample: Sample, used: Collection[str]) -> None:
    """One warning line with what the sample states and the simulator does not use.

    Args:
        simulator: its own observables are not named: it works them out again.
        sample: what it starts from.
        used: fields that it takes.
    """
    known = {*used, *(q.name for q in simulator.observables)}
    names = [name for name in sample.fields if name not in known]
    parameters = {p.name for p in simulator.parameters_spec}
    for name, value in sample.conditions.items():
        if name in parameters:
            here = getattr(simulator, name).detach()
            if here.ndim == 0 and abs(float(here) - value) > SAME * abs(value):
                names.append(f"{name}={value:.6g} (set to {float(here):.6g})")
        elif name not in known and name != "time":
            names.append(f"{name}={value:.6g}")
    if names:
        warnings.warn(
            f"{sample.id}: {simulator.part} does not use its {', '.join(names)}",
            InputWarning,
            stacklevel=3,
        )


def say_dropped(
    sample: Sample, part: str, shares: Mapping[str, float], least: float = 1e-6
) -> None:
    """One warning line with the shares of a field's energy that a simulator drops.

    Args:
        sample: what it starts from.
        part: the simulator's name.
        shares: by what is dropped, such as `divergent`.
        least: smaller shares are rounding, and not worth a line.
    """
    said = [f"the {what}, {share:.3%}" for what, share in shares.items() if share > least]
    if said:
        warnings.warn(
            f"{sample.id}: {part} drops part of the velocity's energy: {', '.join(said)} of it",
            InputWarning,
            stacklevel=3,
        )
