"""The one form in which `simulate`, `predict`, `fit` say quantities, and the files they write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.data.atomic import atomic, refuse_unwritable
from sfm.errors import InputError

PRINTED = 64  # numbers; a larger array goes to a file
ARRAY_FILES = (".npz", ".h5", ".hdf5")


def as_array(value: Any) -> Shaped[np.ndarray, " ..."]:
    """numpy, from whatever a handler has; of the same shape and unit."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def summary_of(array: Shaped[np.ndarray, " ..."]) -> dict[str, float]:
    """Least, mean and largest of an array of any shape and unit."""
    return {"min": float(array.min()), "mean": float(array.mean()), "max": float(array.max())}


def quantity(
    name: str,
    value: Any,
    unit: str,
    *,
    path: Path | None = None,
    warnings: list[str],
    series: bool = False,
) -> dict[str, Any]:
    """`{"value", "unit", "shape"}`; a large array becomes a summary and the file's path.

    Args:
        name: for the warning.
        value: number or array.
        unit: its unit.
        path: file that holds the array, if one was written.
        warnings: gets a line if the array is nowhere to be found.
        series: the first axis is time, so that the last entry is worth saying.
    """
    array = as_array(value)
    entry: dict[str, Any] = {"value": None, "unit": unit, "shape": list(array.shape)}
    if array.size <= PRINTED:
        entry["value"] = array.tolist()
    else:
        entry["summary"] = summary_of(array)
        if series and array[-1].size <= PRINTED:
            entry["last"] = array[-1].tolist()
        if path is None:
            warnings.append(
                f"'{name}' has {array.size} numbers, too many to print: give --output FILE.npz"
            )
    if path is not None:
        entry["path"] = str(path)
    return entry


def refuse_no_arrays(path: Path, *others: str) -> None:
    """Of a file that arrays are to go to, before they are made.

    Args:
        path: the file.
        others: suffixes of other formats that are written.

    Raises:
        InputError: another suffix, or a place that cannot be written.
    """
    suffix, known = path.suffix.lower(), (*ARRAY_FILES, *others)
    if suffix not in known:
        raise InputError(f"{path}: arrays go to {', '.join(known)} files, not '{suffix}'")
    refuse_unwritable(path)


def write_arrays(path: Path, arrays: Mapping[str, Any], units: Mapping[str, str]) -> None:
    """Arrays by name into `.npz` or HDF5, their units beside them.

    In `.npz` the unit of `energy` is the string array `energy.unit`; in HDF5 it is an attribute.

    Raises:
        InputError: another suffix, or a place that cannot be written.
    """
    refuse_no_arrays(path)
    suffix = path.suffix.lower()
    plain = {name: as_array(value) for name, value in arrays.items()}
    with atomic(path) as scratch:
        if suffix == ".npz":
            named = {f"{name}.unit": np.array(units.get(name, "1")) for name in plain}
            np.savez_compressed(scratch, **plain, **named)  # type: ignore[arg-type]
        else:
            import h5py

            with h5py.File(scratch, "w") as file:
                for name, array in plain.items():
                    if array.dtype.kind == "U":
                        array = array.astype(h5py.string_dtype())
                    file.create_dataset(name, data=array).attrs["unit"] = units.get(name, "1")


def text_of(entry: Mapping[str, Any]) -> str:
    """One cell of a table: the number, the array, or its range."""
    value = entry["value"]
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is not None:
        array = np.asarray(value)
        if array.ndim == 0:
            return str(value)
        return row(array) if array.size <= 9 else f"{array.min():.4g} ... {array.max():.4g}"
    if "last" in entry and (line := row(entry["last"], " (last)")):
        return line
    s = entry["summary"]
    return f"{s['min']:.4g} ... {s['max']:.4g}"


def row(values: Any, note: str = "") -> str:
    """Up to nine numbers side by side; nothing where there are more."""
    flat = np.asarray(values).ravel()
    return " ".join(f"{x:.4g}" for x in flat) + note if flat.size <= 9 else ""
