"""Readers of velocity fields: HDF5, npz and plain arrays -> samples.

A file holds a dataset `velocity` of shape (2, H, W) or (T, 2, H, W): component 0 is along the last
axis (x), component 1 along the one before (y); the grid is periodic with square cells. Optional
attributes (HDF5, of the file or the dataset) or scalars (npz): `length_x`, `length_y` (default
2 pi along x and square cells) and `unit` of the velocity (default "1", box units).

HDF5 files of The Well are recognised and read too (`sfm_fluids.data.well`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.readers import WrongDomain
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.units import convert

from .well import WellData, is_well, read_well
from .well_samples import to_samples

EXTRA = ("length_x", "length_y", "unit", "reynolds")


def load_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Datasets and attributes called `names` that the .h5, .hdf5 or .npz file has.

    Raises:
        InputError: no such file, or it is damaged.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    load = _load_npz if Path(path).suffix.lower() == ".npz" else _load_hdf5
    try:
        return load(Path(path), tuple(names))
    except InputError:
        raise
    except Exception as error:  # h5py and zipfile raise many kinds on damaged files
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: damaged or truncated file ({first})") from None


def _load_hdf5(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    import h5py

    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        if is_well(file):
            return {k: v for k, v in _one_run(read_well(path), str(path)).items() if k in names}
        for name in names:
            if name in file and isinstance(file[name], h5py.Dataset):
                found[name] = np.asarray(file[name])
            elif name in file.attrs:
                found[name] = np.asarray(file.attrs[name])
            elif "velocity" in file and name in file["velocity"].attrs:
                found[name] = np.asarray(file["velocity"].attrs[name])
    return found


def _one_run(data: WellData, where: str) -> dict[str, np.ndarray]:
    """The arrays of a file of The Well that holds one run."""
    if data.runs != 1:
        raise InputError(f"{where}: holds {data.runs} runs; give a file with one")
    found = {k: v[0] for k, v in data.fields.items()}
    found |= {k: np.asarray(v) for k, v in data.scalars.items() if np.ndim(v) == 0}
    found |= {f"length_{a}": np.asarray(length) for a, length in data.lengths().items()}
    return {**found, "times": data.times if data.times.ndim == 1 else data.times[0]}


def _load_npz(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
        return {name: file[name] for name in names if name in file.files}


def read_hdf5(path: str | Path) -> list[Sample]:
    """Samples of an HDF5 file, one per snapshot (and run, in a file of The Well).

    Raises:
        WrongDomain: the file has no dataset `velocity` and is none of The Well's.
        InputError: damaged file, wrong shape, values that are not finite.
    """
    path = Path(path)
    if path.is_file() and _holds_well(path):
        return to_samples(read_well(path), path.stem)
    return _samples(load_arrays(path, ("velocity", *EXTRA)), path.stem, str(path))


def _holds_well(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return is_well(file)
    except OSError:  # damaged: reported where it is read
        return False


def read_npz(path: str | Path) -> list[Sample]:
    """Samples of an npz file, one per snapshot. Raises as `read_hdf5`."""
    path = Path(path)
    return _samples(load_arrays(path, ("velocity", *EXTRA)), path.stem, str(path))


def read_array(velocity: np.ndarray) -> list[Sample]:
    """Samples of an array (2, H, W) or (T, 2, H, W) in a box of length 2 pi."""
    return _samples({"velocity": velocity}, "array", "array")


def _text(value: Any) -> str:
    item = np.asarray(value).item()
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


def _samples(arrays: Mapping[str, Any], stem: str, where: str) -> list[Sample]:
    if "velocity" not in arrays:
        raise WrongDomain(f"{where}: no dataset 'velocity' of shape (2, H, W) or (T, 2, H, W)")
    velocity = np.asarray(arrays["velocity"])
    if velocity.dtype.kind not in "fiu":
        raise InputError(f"{where}: 'velocity' holds {velocity.dtype}, not numbers")
    if velocity.ndim not in (3, 4) or velocity.shape[-3] != 2:
        raise InputError(
            f"{where}: 'velocity' has shape {velocity.shape}, not (2, H, W) or (T, 2, H, W)"
        )
    velocity = velocity.astype(np.float64)
    if not np.isfinite(velocity).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(velocity))[0])
        raise InputError(f"{where}: 'velocity' is not finite at index {index}")
    unit = _text(arrays.get("unit", "1"))
    if unit not in ("1", ""):
        try:
            velocity = velocity * convert(1.0, unit, "1")
        except InputError:
            raise InputError(
                f"{where}: velocity in '{unit}'; divide it by a velocity scale, so that the box "
                "length is 2 pi and the unit is '1'"
            ) from None
    height, width = velocity.shape[-2:]
    length_x = float(arrays.get("length_x", 2 * math.pi))
    length_y = float(arrays.get("length_y", length_x * height / width))
    if not (length_x > 0 and length_y > 0):
        raise InputError(f"{where}: box lengths {length_x} x {length_y} must be positive")
    if abs(length_x / width - length_y / height) > 1e-6 * length_x / width:
        raise InputError(
            f"{where}: cells are {length_x / width:.4g} x {length_y / height:.4g}; "
            "interpolate the field to square cells first"
        )
    conditions = {"reynolds": float(arrays["reynolds"])} if "reynolds" in arrays else {}
    frames = velocity if velocity.ndim == 4 else velocity[None]
    if len(frames) == 0:
        raise InputError(f"{where}: 'velocity' holds no snapshot")
    return [
        Sample(
            id=stem if len(frames) == 1 else f"{stem}:{number}",
            domain="fluids",
            cell=np.diag([length_x, length_y, 1.0]),
            pbc=np.array([True, True, False]),
            fields={"velocity": frame},
            conditions=conditions,
        )
        for number, frame in enumerate(frames)
    ]
