"""Opening HDF5 files that may be damaged or hostile: no links out, one line for any fault.

Numbers keep the units of the file and the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.errors import InputError
from sfm.formats.limits import Budget

MOST_OBJECTS = 100_000


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """An open `h5py.File` with all its data in the file itself.

    Raises:
        InputError: no such file, damaged, or an external link, external storage or a virtual
            dataset, each of which would read another file in this one's name.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            _check_links(file, path)
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py raises many kinds on damaged files
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: damaged or truncated file ({first})") from None


def _check_links(file: Any, path: Path) -> None:  # noqa: C901
    import h5py

    waiting, seen = [file], set()
    while waiting:
        group = waiting.pop()
        for name in group:
            link = group.get(name, getlink=True)
            where = f"{group.name.rstrip('/')}/{name}"
            if isinstance(link, h5py.ExternalLink):
                raise InputError(
                    f"{path}: '{where}' is a link to another file, '{link.filename}'; copy the "
                    "data into this one"
                )
            if not isinstance(link, h5py.HardLink):
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:
                    seen.add(address)
                    waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                other = item.external or ()
                if item.is_virtual:
                    other = [s.file_name for s in item.virtual_sources() if s.file_name != "."]
                if other:
                    raise InputError(
                        f"{path}: the data of '{where}' are in another file; copy them into this "
                        "one"
                    )
        if len(seen) > MOST_OBJECTS:
            raise InputError(f"{path}: more than {MOST_OBJECTS} groups")


def read_array(dataset: Any, budget: Budget) -> Shaped[np.ndarray, " ..."]:
    """All numbers (or texts) of a dataset, of the shape that it has in the file, any shape.

    Raises:
        InputError: more than the file can hold.
    """
    budget.take(dataset.name.lstrip("/"), dataset.shape or (), max(8, dataset.dtype.itemsize))
    return np.asarray(dataset)
