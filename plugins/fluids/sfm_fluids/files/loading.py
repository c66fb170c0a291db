"""Loading the content of a file of fields: HDF5, npz, npy, netCDF, by its suffix."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from sfm.errors import InputError
from sfm.formats.hdf5 import opened, read_array
from sfm.formats.limits import Budget
from sfm.formats.npz import load_npz
from sfm_fluids.files.content import Content
from sfm_fluids.files.netcdf import load_netcdf


def load(path: Path, names: Collection[str] | None = None) -> Content:
    """The content of a .h5, .hdf5, .npz, .npy, .nc or .nc4 file.

    Args:
        path: the file.
        names: only these arrays; None for all.

    Raises:
        InputError: no such file, damaged, links to other files, or more claimed than it can hold.
        PluginError: netCDF without xarray.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix in (".npz", ".npy"):
        return _load_numpy(path, names)
    if suffix in (".nc", ".nc4", ".cdf"):
        return load_netcdf(path, names)
    return _load_hdf5(path, names)


def _load_hdf5(path: Path, names: Collection[str] | None) -> Content:
    import h5py

    budget = Budget(path)
    with opened(path) as file:
        datasets = {k: v for k, v in file.items() if isinstance(v, h5py.Dataset)}
        attributes = dict(file.attrs)
        if "velocity" in datasets:
            attributes |= dict(datasets["velocity"].attrs)
        arrays = {
            name: read_array(dataset, budget)
            for name, dataset in datasets.items()
            if names is None or name in names
        }
    return Content(str(path), arrays, attributes)


def _load_numpy(path: Path, names: Collection[str] | None) -> Content:
    if path.suffix.lower() == ".npz":
        return Content(str(path), load_npz(path, names))
    try:
        # mapped: a header that claims more than the file has allocates nothing
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return Content(str(path), {"velocity": np.array(mapped)})
    except Exception as error:  # numpy raises many kinds on damaged files
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: damaged or truncated file ({first})") from None
