"""netCDF files and xarray objects, through xarray: the names of axes say what is x, y, z, time."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.errors import InputError, PluginError
from sfm.formats.hdf5 import opened
from sfm.formats.limits import Budget
from sfm_fluids.files.content import Content

if TYPE_CHECKING:
    from xarray import Dataset

CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")


def load_netcdf(path: Path, names: Collection[str] | None = None) -> Content:
    """The root group of a netCDF file, classic or netCDF-4.

    Raises:
        InputError: damaged, links to other files, or more claimed than it can hold.
        PluginError: xarray or h5netcdf is not installed.
    """
    try:
        import h5netcdf  # noqa: F401
        import xarray
    except ImportError as error:
        raise PluginError(
            f"{path}: reading netCDF needs {error.name}: pip install 'sfm-hub[fluids]'"
        ) from None
    with path.open("rb") as file:
        classic = file.read(4) in CLASSIC
    options: dict[str, Any] = {"engine": "scipy"}
    if not classic:
        with opened(path):  # nothing in it links out of it
            pass
        options = {"engine": "h5netcdf", "phony_dims": "sort"}
    budget = Budget(path)
    try:
        with xarray.open_dataset(path, decode_times=False, **options) as data:
            for name, variable in data.variables.items():
                if names is None or name in names:
                    budget.take(str(name), variable.shape, max(8, variable.dtype.itemsize))
            return of_dataset(data, str(path), names)
    except InputError:
        raise
    except Exception as error:  # xarray and its engines raise many kinds
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: damaged or unreadable netCDF file ({first})") from None


def of_dataset(data: Dataset, where: str, names: Collection[str] | None = None) -> Content:
    """The variables and coordinates of an xarray Dataset."""
    arrays, axes = {}, {}
    for name, variable in data.variables.items():
        if names is None or name in names:
            arrays[str(name)] = np.asarray(variable.values)
            axes[str(name)] = tuple(map(str, variable.dims))
    attributes = dict(data.attrs)
    for name in ("velocity", "u"):
        if name in data.variables:
            attributes |= data.variables[name].attrs
            break
    return Content(where, arrays, attributes, axes)
