"""The HDF5 format of The Well: writing it so that its own loader takes it, and reading it.

R. Ohana et al., The Well: a large-scale collection of diverse physics simulations for machine
learning, NeurIPS 2024 (arXiv:2412.00568); format of the `the-well` package, 1.1 and 1.2.

One file holds N runs on one grid, sampled at T times. Its groups: `dimensions` (time and one
coordinate per axis), `boundary_conditions`, `scalars`, and `t0_fields`, `t1_fields`, `t2_fields`
for scalars, vectors and tensors of second rank. Arrays there are (N, T, x, y[, z], components);
the arrays of this module are images, (N, T, components, [D,] H, W), the last axis being x.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import InputError, InputWarning
from sfm.formats.hdf5 import opened, read_array
from sfm.formats.limits import Budget
from sfm_fluids.files.values import text, texts

BOUNDARIES = ("WALL", "OPEN", "PERIODIC")
AXES = ("x", "y", "z")
GROUPS = ("t0_fields", "t1_fields", "t2_fields")


@dataclass(frozen=True)
class WellData:
    """What one file of The Well holds.

    Attributes:
        name: of the data set.
        coordinates: by axis, `x`, `y` and perhaps `z`: (n,) each, evenly spaced.
        times: (T,), the same for all runs, or (N, T).
        boundaries: by axis, what is at its low and its high end: `WALL`, `OPEN` or `PERIODIC`.
        fields: by name, (N, T, ..., [D,] H, W) with (), (d,) or (d, d) in the place of the dots;
            component 0 of a vector is along x.
        constant_fields: by name, without the axis T: masks, permeabilities, forces.
        scalars: by name, parameters of the simulation and numbers that vary in time: one number
            for all runs, (N,), (1, T) for all runs or (N, T).
    """

    name: str
    coordinates: Mapping[str, np.ndarray]
    times: np.ndarray
    boundaries: Mapping[str, tuple[str, str]]
    fields: Mapping[str, np.ndarray]
    constant_fields: Mapping[str, np.ndarray] = field(default_factory=dict)
    scalars: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dimensions(self) -> int:
        """Number of axes in space, d."""
        return len(self.coordinates)

    @property
    def runs(self) -> int:
        """N."""
        arrays = [*self.fields.values(), *self.constant_fields.values()]
        return len(arrays[0]) if arrays else 0

    def rank(self, name: str) -> int:
        """0, 1 or 2: the rank of the tensor that the field holds."""
        lead = 2 if name in self.fields else 1
        array = self.fields[name] if name in self.fields else self.constant_fields[name]
        return np.ndim(array) - lead - self.dimensions

    def lengths(self) -> dict[str, float]:
        """Length of the box by axis: n times the spacing, each point owning one cell.

        Cells that are square but for the rounding of float32 are square.
        """
        gaps = {a: _spacing(x) for a, x in self.coordinates.items()}
        first = next(iter(gaps.values()))
        return {
            a: len(self.coordinates[a]) * (first if abs(gap / first - 1) < 1e-6 else gap)
            for a, gap in gaps.items()
        }

    def check(self, where: str) -> None:
        """Raises InputError if axes, shapes or boundaries do not fit together."""
        if tuple(self.coordinates) != AXES[: self.dimensions] or not 1 <= self.dimensions <= 3:
            raise InputError(f"{where}: axes {list(self.coordinates)}, not x, y, z in this order")
        for axis in self.coordinates:
            _spacing(self.coordinates[axis], f"{where}: axis {axis}")
            ends = tuple(self.boundaries.get(axis, ()))
            if len(ends) != 2 or any(e not in BOUNDARIES for e in ends):
                raise InputError(
                    f"{where}: boundaries of axis {axis} are {ends}; give two of {BOUNDARIES}"
                )
            if (ends[0] == "PERIODIC") != (ends[1] == "PERIODIC"):
                raise InputError(f"{where}: axis {axis} is periodic at one end only: {ends}")
        space = tuple(len(x) for x in reversed(list(self.coordinates.values())))
        steps = np.shape(self.times)[-1]
        for name in (*self.fields, *self.constant_fields):
            array = self.fields[name] if name in self.fields else self.constant_fields[name]
            lead = (self.runs, steps) if name in self.fields else (self.runs,)
            rank = self.rank(name)
            expected = (*lead, *(self.dimensions,) * max(rank, 0), *space)
            if not 0 <= rank <= 2 or np.shape(array) != expected:
                raise InputError(f"{where}: field '{name}' has shape {np.shape(array)}")
        if self.runs == 0:
            raise InputError(f"{where}: holds no field")


def _spacing(x: np.ndarray, where: str = "axis") -> float:
    if np.ndim(x) != 1:
        raise InputError(f"{where}: coordinates of shape {np.shape(x)}; one list for all runs")
    gaps = np.diff(np.asarray(x, dtype=np.float64))
    if len(gaps) == 0 or (gaps <= 0).any():
        raise InputError(f"{where}: coordinates do not increase")
    if np.abs(gaps / gaps.mean() - 1).max() > 1e-3:
        raise InputError(f"{where}: coordinates are not evenly spaced")
    return float((x[-1] - x[0]) / len(gaps))


def _to_well(array: np.ndarray, dimensions: int, rank: int) -> np.ndarray:
    """(..., components, [D,] H, W) -> (..., x, y[, z], components)."""
    lead = array.ndim - dimensions - rank
    space = [lead + rank + i for i in reversed(range(dimensions))]
    return array.transpose(*range(lead), *space, *range(lead, lead + rank))


def _from_well(array: np.ndarray, dimensions: int, rank: int) -> np.ndarray:
    lead = array.ndim - dimensions - rank
    space = [lead + i for i in reversed(range(dimensions))]
    return array.transpose(
        *range(lead), *range(lead + dimensions, lead + dimensions + rank), *space
    )


def write_well(path: str | Path, data: WellData, *, dtype: str = "float32") -> None:
    """Write one file (`.hdf5`) that `the_well.data.WellDataset` reads.

    Its loader takes a folder of such files: `WellDataset(path=FOLDER)`, or `FOLDER/data/train`,
    `valid` and `test` with `well_split_name`.

    Raises:
        InputError: axes, shapes or boundaries do not fit together.
    """
    import h5py

    data.check(str(path))
    axes = list(data.coordinates)
    with h5py.File(path, "w") as file:
        constants = {k: v for k, v in data.scalars.items() if np.ndim(v) == 0}
        file.attrs.update({k: float(v) for k, v in constants.items()})
        file.attrs["dataset_name"] = data.name
        file.attrs["grid_type"] = "cartesian"
        file.attrs["n_spatial_dims"] = data.dimensions
        file.attrs["n_trajectories"] = data.runs
        file.attrs["simulation_parameters"] = list(constants)
        group = file.create_group("dimensions")
        group.attrs["spatial_dims"] = axes
        for name, values in (("time", data.times), *data.coordinates.items()):
            group[name] = np.asarray(values, dtype=dtype)
            group[name].attrs["sample_varying"] = np.ndim(values) == 2
            group[name].attrs["time_varying"] = False
        _write_boundaries(file.create_group("boundary_conditions"), data)
        group = file.create_group("scalars")
        group.attrs["field_names"] = list(data.scalars)
        for name, value in data.scalars.items():
            varying = _varying(name, np.shape(value), data)
            shared = varying["time_varying"] and not varying["sample_varying"]
            group[name] = np.asarray(value[0] if shared else value, dtype=dtype)
            group[name].attrs.update(varying)
        by_rank: dict[int, list[str]] = {0: [], 1: [], 2: []}
        for name in (*data.fields, *data.constant_fields):
            by_rank[data.rank(name)].append(name)
        for rank, names in by_rank.items():
            group = file.create_group(GROUPS[rank])
            group.attrs["field_names"] = names
            for name in names:
                moves = name in data.fields
                array = np.asarray(data.fields[name] if moves else data.constant_fields[name])
                group[name] = _to_well(array, data.dimensions, rank).astype(dtype)
                group[name].attrs.update(
                    dim_varying=[True] * data.dimensions,
                    sample_varying=True,
                    time_varying=moves,
                )
                if rank == 2:
                    group[name].attrs["symmetric"] = False


def _varying(name: str, shape: tuple[int, ...], data: WellData) -> dict[str, bool]:
    steps = np.shape(data.times)[-1]
    if shape not in ((), (data.runs,), (1, steps), (data.runs, steps)):
        raise InputError(f"scalar '{name}' has shape {shape}; give (), (N,), (1, T) or (N, T)")
    sample = len(shape) > 0 and shape[0] == data.runs
    return {"sample_varying": sample, "time_varying": len(shape) == 2}


def _write_boundaries(group: Any, data: WellData) -> None:
    """One group per axis and kind, whose mask says at which ends it holds."""
    for axis, ends in data.boundaries.items():
        for kind in dict.fromkeys(ends):
            mask = np.zeros(len(data.coordinates[axis]), dtype=bool)
            mask[0], mask[-1] = ends[0] == kind, ends[1] == kind
            side = group.create_group(f"{axis}_{kind.lower()}")
            side.attrs["associated_dims"] = [axis]
            side.attrs["associated_fields"] = []
            side.attrs["bc_type"] = kind
            side.attrs["sample_varying"] = False
            side.attrs["time_varying"] = False
            side["mask"] = mask


def is_well(file: Any) -> bool:
    """Whether an open HDF5 file is one of The Well's."""
    return "dimensions" in file and any(name in file for name in GROUPS)


def read_well(path: str | Path) -> WellData:
    """Read a file of The Well: float64, axes that it left out repeated.

    What the arrays themselves say goes before the attributes that describe them.

    Raises:
        InputError: no such file, not of this format, damaged, or a grid that is not cartesian and
            even.
    """
    with opened(path) as file:
        if not is_well(file):
            raise InputError(f"{path}: lacks the groups of The Well's format")
        data = _read(file, str(path), Budget(Path(path)))
    data.check(str(path))
    return data


def _read(file: Any, where: str, budget: Budget) -> WellData:
    kind = text(file.attrs.get("grid_type", "cartesian"))
    if kind != "cartesian":
        raise InputError(f"{where}: its grid is '{kind}'; only cartesian grids can be read")
    if "boundary_conditions" not in file:
        raise InputError(f"{where}: states no boundary_conditions, and none is assumed")
    space = file["dimensions"]
    axes = texts(space.attrs.get("spatial_dims", [a for a in AXES if a in space]))
    coordinates = {a: read_array(space[a], budget).astype(np.float64) for a in axes}
    times = read_array(space["time"], budget).astype(np.float64)
    sizes = tuple(len(x) for x in coordinates.values())
    moving: dict[str, np.ndarray] = {}
    fixed: dict[str, np.ndarray] = {}
    for rank, name, stored in _datasets(file, *GROUPS):
        moves = bool(stored.attrs.get("time_varying", stored.ndim == 2 + len(axes) + rank))
        steps = (times.shape[-1],) if moves else ()
        array = _read_field(stored, where, budget, steps, sizes, rank)
        (moving if moves else fixed)[name] = array
    runs = _runs(file, {**moving, **fixed}, where)
    for fields in (moving, fixed):
        for name, array in fields.items():
            fields[name] = np.broadcast_to(array, (runs, *array.shape[1:]))
    return WellData(
        name=text(file.attrs.get("dataset_name", Path(where).stem)),
        coordinates=coordinates,
        times=times,
        boundaries={a: _read_boundary(file["boundary_conditions"], a, budget) for a in axes},
        fields=moving,
        constant_fields=fixed,
        scalars={
            name: _read_scalar(stored, where, budget, runs, times.shape[-1])
            for _, name, stored in _datasets(file, "scalars")
        },
    )


def _datasets(file: Any, *groups: str) -> Iterator[tuple[int, str, Any]]:
    """(number of the group, name, dataset) of those that are there."""
    for number, name in enumerate(groups):
        if name in file:
            group = file[name]
            for field in texts(group.attrs.get("field_names", list(group))):
                yield number, field, group[field]


def _numbers(stored: Any, where: str, budget: Budget) -> np.ndarray:
    array = read_array(stored, budget)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}: '{stored.name}' does not hold numbers")
    return array.astype(np.float64)


def _read_field(
    stored: Any,
    where: str,
    budget: Budget,
    steps: tuple[int, ...],
    sizes: tuple[int, ...],
    rank: int,
) -> np.ndarray:
    """(N or 1, [T,] components, [D,] H, W)."""
    array, dimensions = _numbers(stored, where, budget), len(sizes)
    if not stored.attrs.get("sample_varying", array.ndim > len(steps) + dimensions + rank):
        array = array[None]
    for i, varies in enumerate(stored.attrs.get("dim_varying", [True] * dimensions)):
        if not varies:
            array = np.expand_dims(array, 1 + len(steps) + i)
    expected = (len(array), *steps, *sizes, *(dimensions,) * rank)
    try:
        array = np.broadcast_to(array, expected)
    except ValueError:
        name = stored.name.rpartition("/")[2]
        raise InputError(
            f"{where}: field '{name}' has shape {array.shape}, not {expected}"
        ) from None
    return _from_well(array, dimensions, rank)


def _runs(file: Any, fields: Mapping[str, np.ndarray], where: str) -> int:
    """N: what the arrays hold, whatever the file's attribute says."""
    counts = {len(array) for array in fields.values()} - {1} or {1}
    if len(counts) > 1:
        raise InputError(f"{where}: fields of {sorted(counts)} runs")
    runs = counts.pop()
    stated = np.asarray(file.attrs.get("n_trajectories", runs)).reshape(-1).tolist()
    if stated != [runs]:
        warnings.warn(
            f"{where}: says n_trajectories={text(stated)}, but its fields hold {runs}, which "
            f"{'is' if runs == 1 else 'are'} read",
            InputWarning,
            stacklevel=2,
        )
    return runs


def _read_scalar(stored: Any, where: str, budget: Budget, runs: int, steps: int) -> Any:
    """A number, (N,), (1, T) or (N, T)."""
    value = _numbers(stored, where, budget)
    if stored.attrs.get("time_varying", False) and not stored.attrs.get("sample_varying", True):
        value = value[None]
    if value.shape not in ((), (runs,), (1, steps), (runs, steps)):
        raise InputError(f"{where}: scalar '{stored.name}' has shape {value.shape}")
    return float(value) if value.ndim == 0 else value


def _read_boundary(groups: Any, axis: str, budget: Budget) -> tuple[str, str]:
    """What the masks say of the two ends of one axis; OPEN where they say nothing."""
    ends = ["OPEN", "OPEN"]
    for name, group in groups.items():
        kind = text(group.attrs.get("bc_type", name.rpartition("_")[2])).upper()
        # named `x_wall` where the attribute is missing
        dims = texts(group.attrs.get("associated_dims", name.rpartition("_")[0]))
        if axis not in dims:
            continue
        if kind == "PERIODIC":  # some files leave the masks of periodic axes empty
            return "PERIODIC", "PERIODIC"
        if "mask" not in group:
            return kind, kind
        mask = np.moveaxis(read_array(group["mask"], budget).astype(bool), dims.index(axis), 0)
        # a wall counts if it is a wall everywhere; anything else if it is there at all
        holds = np.all if kind == "WALL" else np.any
        for end in (0, -1):
            if holds(mask[end]):
                ends[end] = kind
    return ends[0], ends[1]
