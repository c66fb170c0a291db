"""Readers of fields: HDF5, npz, npy, netCDF, plain arrays and xarray objects -> samples.

A file holds a dataset `velocity` (or its components `u`, `v`, `w`) on an even, cartesian grid, as
`sfm_fluids.files.layout` says. Optional attributes or numbers: `length_x`, `length_y`, `length_z`
(or coordinates `x`, `y`, `z`), `boundary_x`, ... (`periodic`, which is taken where nothing is said,
`wall`, `open`), `times`, `unit` of the velocity (default "1"), `reynolds`, and values of the
simulators' parameters by name. Other arrays on the grid become fields.

HDF5 files of The Well are recognised and read too (`sfm_fluids.files.well`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.formats.hdf5 import opened
from sfm_fluids.files import layout
from sfm_fluids.files.content import Content
from sfm_fluids.files.loading import load
from sfm_fluids.files.netcdf import load_netcdf, of_dataset
from sfm_fluids.files.well import WellData, is_well, read_well
from sfm_fluids.files.well_samples import to_samples

if TYPE_CHECKING:
    from xarray import DataArray, Dataset

BOX = tuple(f"{kind}_{axis}" for kind in ("length", "boundary") for axis in layout.AXES)


def load_arrays(path: Path, names: Iterable[str]) -> dict[str, Shaped[np.ndarray, " ..."]]:
    """Arrays and attributes called `names` that the file has, a velocity's components as one.

    Of the file's own shapes, such as (T, 2, H, W) of a velocity.

    Raises:
        InputError: no such file, damaged, or something asked for that is not numbers.
    """
    return _picked(_content(Path(path), names), names)


def load_flow(path: Path, names: Iterable[str]) -> dict[str, Shaped[np.ndarray, " ..."]]:
    """The same with the box of `velocity`, `length_x`, `boundary_x` and so on, where it is stated.

    The box and boundaries are of shape ().

    Raises:
        InputError: as `load_arrays`; a box that contradicts itself or is not evenly divided.
    """
    content = _content(Path(path), (*names, "velocity"))
    arrays = _picked(content, names)
    shape = np.shape(content.arrays.get("velocity", 0.0))
    dimensions = layout.dimensions_of(shape)
    axes = layout.AXES[:dimensions]
    sizes = dict(zip(axes, reversed(shape[-dimensions:]), strict=False))
    for axis, length in layout.lengths_of(content, sizes).items():
        arrays[f"length_{axis}"] = np.asarray(length)
    for axis, kind in layout.boundaries_of(content, axes).items():
        arrays[f"boundary_{axis}"] = np.asarray(kind)
    return arrays


def _content(path: Path, names: Iterable[str]) -> Content:
    """The file, with the arrays `names` and whatever says where a velocity is."""
    if _holds_well(path):
        return _one_run(read_well(path), str(path))
    asked = {*names, *BOX, *layout.AXES, "length"}
    if "velocity" in asked:
        asked |= {n for group in layout.COMPONENTS for n in (*group, *map(str.upper, group))}
    return layout.composed(load(path, asked))


def _picked(content: Content, names: Iterable[str]) -> dict[str, np.ndarray]:
    values = {**content.attributes, **content.arrays}
    picked = {name: np.asarray(values[name]) for name in names if name in values}
    for name, array in picked.items():
        if array.dtype.kind not in "fiub":
            raise InputError(f"{content.where}: '{name}' does not hold numbers")
    return picked


def _one_run(data: WellData, where: str) -> Content:
    """The arrays of a file of The Well that holds one run."""
    if data.runs != 1:
        raise InputError(f"{where}: holds {data.runs} runs; give a file with one")
    arrays = {k: v[0] for k, v in (*data.fields.items(), *data.constant_fields.items())}
    if data.dimensions == 1 and "velocity" in arrays:
        arrays["velocity"] = arrays["velocity"][:, 0]
    arrays["times"] = data.times if data.times.ndim == 1 else data.times[0]
    attributes = {k: v for k, v in data.scalars.items() if np.ndim(v) == 0}
    attributes |= {f"length_{a}": length for a, length in data.lengths().items()}
    for axis, ends in data.boundaries.items():
        kinds = [kind.lower() for kind in ends if kind != "PERIODIC"]
        attributes[f"boundary_{axis}"] = kinds[0] if kinds else "periodic"
    return Content(where, arrays, attributes)


def read_hdf5(path: str | Path) -> list[Sample]:
    """Samples of an HDF5 file, one per snapshot (and run, in a file of The Well).

    Raises:
        WrongDomain: the file has no velocity and is none of The Well's.
        InputError: damaged file, wrong shape, values that are not finite, links to other files.
    """
    path = Path(path)
    if _holds_well(path):
        return to_samples(read_well(path), path.stem)
    return read_arrays(path)


def _holds_well(path: Path) -> bool:
    if path.suffix.lower() not in (".h5", ".hdf5"):
        return False
    with opened(path) as file:
        return is_well(file)


def read_arrays(path: str | Path) -> list[Sample]:
    """Samples of a .h5, .hdf5, .npz or .npy file, one per snapshot. Raises as `read_hdf5`."""
    path = Path(path)
    return layout.to_samples(load(path), path.stem)


read_npz = read_arrays


def read_array(velocity: Shaped[np.ndarray, " ..."]) -> list[Sample]:
    """Samples of an array (2, H, W), (3, D, H, W) or (N,), with an axis of time before it.

    It states no box.
    """
    return layout.to_samples(Content("array", {"velocity": np.asarray(velocity)}), "array")


def read_netcdf(path: str | Path) -> list[Sample]:
    """Samples of a netCDF file, one per snapshot. Raises as `read_hdf5`."""
    return layout.to_samples(load_netcdf(Path(path)), Path(path).stem)


def read_dataarray(data: DataArray) -> list[Sample]:
    """Samples of an xarray DataArray, a velocity whatever its name."""
    return read_dataset(data.to_dataset(name="velocity"))


def read_dataset(data: Dataset) -> list[Sample]:
    """Samples of an xarray Dataset with `velocity`, or its components as `u`, `v`, `w`."""
    return layout.to_samples(of_dataset(data, "xarray"), "xarray")
