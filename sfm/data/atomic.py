"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfm.errors import InputError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path of the same name that becomes `path` if the block succeeds.

    Raises:
        InputError: the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the name of a file")
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=".sfm-")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    with folder as scratch:
        inner = Path(scratch) / path.name
        yield inner
        if inner.exists():
            os.replace(inner, path)
