"""Measured or simulated time series as tables: times and one column per variable."""

from __future__ import annotations

import csv
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfm.data.headers import split_header
from sfm.errors import InputError, InputWarning, did_you_mean
from sfm.formats.npz import load_npz
from sfm.units import check_unit


@dataclass(frozen=True)
class Table:
    """A time series.

    Attributes:
        times: (T,) increasing.
        values: (T, d), columns as they were asked for.
        names: (d,) of the columns.
        units: (d,) of the columns, from heads such as `speed [m/s]` and `speed.unit`; else `1`.
        time_unit: of the times, likewise; of a column `year` it is `year`.
        exact_start: whether the first row is known without error (`exact_start` in `.npz`).
    """

    times: np.ndarray
    values: np.ndarray
    names: tuple[str, ...]
    units: tuple[str, ...]
    time_unit: str = "1"
    exact_start: bool = False


def read_table(path: Path, names: Sequence[str] | None = None) -> Table:
    """`.csv` (commas, semicolons, tabs) with a head line, or `.npz`.

    The latter holds `times` and `state` (T, d), or an array per variable.

    The column of times is called `time`, `times`, `t` or `year`; without `names` all others count.

    Raises:
        InputError: no such file, another suffix, a missing column (the nearest one is named), times
            that do not increase, or a value that is no finite number (line and column named).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix == ".csv":
        columns, units = _csv(path)
        exact = False
    elif suffix == ".npz":
        columns, units, exact = _npz(path, names)
    else:
        raise InputError(f"{path}: a time series is a .csv or .npz file, not '{suffix}'")
    label = next((n for n in ("time", "times", "t", "year") if n in columns), None)
    if label is None:
        raise InputError(f"{path}: no column 'time' (found: {', '.join(columns) or 'none'})")
    times = columns.pop(label)
    variables = tuple(columns) if names is None else tuple(names)
    for name in variables:
        if name not in columns:
            raise InputError(
                f"{path}: no column '{name}' (found: {', '.join(columns)})."
                f"{did_you_mean(name, columns)}"
            )
    left = [name for name in columns if name not in variables]
    if left:
        _say_unused(path, left)
    if len(times) < 2 or not variables:
        raise InputError(f"{path}: {len(times)} times of {len(variables)} variables are no series")
    steps = np.diff(times)
    if not (steps > 0).all():
        row = int(np.argmax(steps <= 0)) + 2
        raise InputError(f"{path}: times do not increase at row {row}")
    time_unit = check_unit(units.get(label, "year" if label == "year" else "1"))
    variable_units = tuple(check_unit(units.get(name, "1")) for name in variables)
    values = np.stack([columns[name] for name in variables], 1)
    return Table(times, values, variables, variable_units, time_unit, exact)


def _say_unused(path: Path, names: Sequence[str]) -> None:
    warnings.warn(f"{path}: columns not used: {', '.join(names)}", InputWarning, stacklevel=4)


def _csv(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    rows = _rows(path)
    head, units = [], {}
    for cell in rows[0]:
        name, unit = split_header(cell)
        head.append(name)
        if unit is not None:
            units[name] = unit
    if twice := [name for name, count in Counter(head).items() if count > 1]:
        raise InputError(f"{path}: two columns are called '{twice[0]}'")
    table = np.array([_numbers(path, i, row, head) for i, row in enumerate(rows[1:], 2)])
    table = table.reshape(-1, len(head))
    return {name: table[:, j] for j, name in enumerate(head)}, units


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            text = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        rows = list(csv.reader(text, delimiter=_delimiter(text[0]))) if text else []
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a text table ({error})") from None
    if not rows:
        raise InputError(f"{path}: empty")
    return rows


def _numbers(path: Path, number: int, row: list[str], head: Sequence[str]) -> list[float]:
    if len(row) != len(head):
        raise InputError(f"{path}: row {number} has {len(row)} cells, the head {len(head)}")
    values = []
    for name, cell in zip(head, row, strict=True):
        try:
            values.append(float(cell))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise InputError(
                f"{path}: row {number}, column '{name}': '{cell[:40]}' is no finite number"
            )
    return values


def _delimiter(head: str) -> str:
    """Comma, semicolon or tab: the one that divides the head line most often."""
    return max((",", ";", "\t"), key=head.count)


def _npz(
    path: Path, names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], dict[str, str], bool]:
    stored = load_npz(path)
    units = {n.removesuffix(".unit"): str(a) for n, a in stored.items() if n.endswith(".unit")}
    arrays = {n: a for n, a in stored.items() if not n.endswith(".unit")}
    exact = bool(arrays.pop("exact_start", np.array(False)))
    state = arrays.pop("state", None)
    if state is not None:
        if state.ndim != 2:
            raise InputError(f"{path}: 'state' has shape {state.shape}, not (times, variables)")
        labels = names or [f"x{i}" for i in range(state.shape[1])]
        if len(labels) != state.shape[1]:
            raise InputError(
                f"{path}: 'state' has {state.shape[1]} variables, not {len(labels)}: "
                f"{', '.join(labels[:6])}"
            )
        arrays |= dict(zip(labels, state.T, strict=True))
    columns = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or array.ndim != 1:
            continue
        if not np.isfinite(array).all():
            raise InputError(f"{path}: '{name}' holds a value that is no finite number")
        columns[name] = array.astype(np.float64)
    lengths = {name: len(array) for name, array in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: arrays of different lengths: {lengths}")
    return columns, units, exact


def intervals(times: Sequence[float], dt: float) -> Iterator[tuple[int, float]]:
    """(number, size) of equal steps of at most `dt` between one time and the next.

    >>> list(intervals([0.0, 1.0, 1.5], 0.5))
    [(2, 0.5), (1, 0.5)]
    """
    points = [float(t) for t in times]
    for a, b in itertools.pairwise(points):
        count = max(1, math.ceil((b - a) / dt - 1e-9))
        yield count, (b - a) / count
