"""The HDF5 format of The Well: writing it so that its own loader takes it, and reading it.

R. Ohana et al., The Well: a large-scale collection of diverse physics simulations for machine
learning, NeurIPS 2024 (arXiv:2412.00568); format of the `the-well` package, 1.1 and 1.2.

One file holds N runs on one grid, sampled at T times. Its groups: `dimensions` (time and one
coordinate per axis), `boundary_conditions`, `scalars`, and `t0_fields`, `t1_fields`, `t2_fields`
for scalars, vectors and tensors of second rank. Arrays there are (N, T, x, y[, z], components);
the arrays of this module are images, (N, T, components, [D,] H, W), the last axis being x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import InputError

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
        """Length of the box by axis: n times the spacing, each point owning one cell."""
        return {a: len(x) * _spacing(x) for a, x in self.coordinates.items()}

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
    return float(gaps.mean())


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
            own = group.create_group(f"{axis}_{kind.lower()}")
            own.attrs["associated_dims"] = [axis]
            own.attrs["associated_fields"] = []
            own.attrs["bc_type"] = kind
            own.attrs["sample_varying"] = False
            own.attrs["time_varying"] = False
            own["mask"] = mask


def is_well(file: Any) -> bool:
    """Whether an open HDF5 file is one of The Well's."""
    return all(name in file for name in ("dimensions", "boundary_conditions", *GROUPS))


def read_well(path: str | Path) -> WellData:
    """Read a file of The Well: float64, axes that it left out repeated.

    Raises:
        InputError: no such file, not of this format, or a grid that is not cartesian and even.
    """
    import h5py

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            if not is_well(file):
                raise InputError(f"{path}: lacks the groups of The Well's format")
            data = _read(file, str(path))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: damaged or incomplete file ({error})") from None
    data.check(str(path))
    return data


def _read(file: Any, where: str) -> WellData:
    kind = file.attrs.get("grid_type", "cartesian")
    if kind != "cartesian":
        raise InputError(f"{where}: its grid is '{kind}'; only cartesian grids can be read")
    runs = int(file.attrs["n_trajectories"])
    axes = [str(a) for a in file["dimensions"].attrs["spatial_dims"]]
    coordinates = {a: np.asarray(file["dimensions"][a], dtype=np.float64) for a in axes}
    times = np.asarray(file["dimensions"]["time"], dtype=np.float64)
    sizes = [len(x) for x in coordinates.values()]
    moving: dict[str, np.ndarray] = {}
    fixed: dict[str, np.ndarray] = {}
    for rank, group in enumerate(GROUPS):
        for name in map(str, file[group].attrs["field_names"]):
            stored = file[group][name]
            array = np.asarray(stored, dtype=np.float64)
            steps = (times.shape[-1],) if stored.attrs["time_varying"] else ()
            if not stored.attrs["sample_varying"]:
                array = array[None]
            for i, varies in enumerate(stored.attrs["dim_varying"]):
                if not varies:
                    array = np.expand_dims(array, 1 + len(steps) + i)
            components = (len(axes),) * rank
            array = np.broadcast_to(array, (runs, *steps, *sizes, *components))
            (moving if steps else fixed)[name] = _from_well(array, len(axes), rank)
    scalars: dict[str, Any] = {}
    for name in map(str, file["scalars"].attrs["field_names"]):
        stored = file["scalars"][name]
        value = np.asarray(stored, dtype=np.float64)
        shared = stored.attrs["time_varying"] and not stored.attrs["sample_varying"]
        scalars[name] = float(value) if value.ndim == 0 else value[None] if shared else value
    return WellData(
        name=str(file.attrs["dataset_name"]),
        coordinates=coordinates,
        times=times,
        boundaries={a: _read_boundary(file["boundary_conditions"], a) for a in axes},
        fields=moving,
        constant_fields=fixed,
        scalars=scalars,
    )


def _read_boundary(groups: Any, axis: str) -> tuple[str, str]:
    """What the masks say of the two ends of one axis; OPEN where they say nothing."""
    ends = ["OPEN", "OPEN"]
    for group in groups.values():
        dims = group.attrs["associated_dims"]
        dims = [dims] if isinstance(dims, str) else [str(d) for d in dims]
        if axis not in dims:
            continue
        kind = str(group.attrs["bc_type"]).upper()
        mask = np.moveaxis(np.asarray(group["mask"], dtype=bool), dims.index(axis), 0)
        # a wall counts if it is a wall everywhere; anything else if it is there at all
        holds = np.all if kind == "WALL" else np.any
        for end in (0, -1):
            if holds(mask[end]):
                ends[end] = kind
        if kind == "PERIODIC":  # some files leave the masks of periodic axes empty
            ends = ["PERIODIC", "PERIODIC"]
    return ends[0], ends[1]
