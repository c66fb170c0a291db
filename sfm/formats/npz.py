"""Arrays of a `.npz` file from anybody, within limits, or refused in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from sfm.errors import InputError
from sfm.formats.limits import Budget


def load_npz(
    path: Path, names: Collection[str] | None = None
) -> dict[str, Shaped[np.ndarray, " ..."]]:
    """The arrays by name, of any shape and unit; no Python objects.

    Args:
        path: the file.
        names: only these arrays; None for all.

    Raises:
        InputError: no such file, damaged, objects, or more claimed than the file can hold.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    budget, arrays = Budget(path), {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if names is None or name in names:
                    budget.take(name, (member.file_size,), 1)
                    arrays[name] = _array(path, archive, member, name)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds on damaged files
        first = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(f"{path}: damaged or truncated file ({first})") from None
    return arrays


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> np.ndarray:
    with archive.open(member) as handle:
        version = np.lib.format.read_magic(handle)
        read = {(1, 0): np.lib.format.read_array_header_1_0}
        header = read.get(version, np.lib.format.read_array_header_2_0)(handle)
    if int(np.prod(header[0], dtype=object)) * header[2].itemsize > member.file_size:
        raise InputError(f"{path}: '{name}' is longer than the file that holds it")
    with archive.open(member) as handle:
        array: np.ndarray = np.lib.format.read_array(handle, allow_pickle=False)
    return array
