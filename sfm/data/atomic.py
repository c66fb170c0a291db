"""Writing a file whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfm.errors import InputError, disk_fault


@contextmanager
def disk_errors(path: str | Path) -> Iterator[None]:
    """Turn what a full, read-only or missing place raises inside the block into one line.

    Raises:
        RunError: the disk is full, or failed.
        InputError: the place cannot be written.
    """
    try:
        yield
    except Exception as error:
        fault = disk_fault(error, path)
        if fault is None:
            raise
        raise fault from error


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path of the same name that becomes `path` if the block succeeds.

    It lies beside its target, so that the last step is one rename; a link is followed first.

    Raises:
        InputError: the folder cannot be written, or `path` is no regular file.
        RunError: the disk is full; what `path` held is untouched.
    """
    path = Path(path)
    with disk_errors(path):
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise InputError(f"{path}: is a folder; give the name of a file")
        if target.exists() and not target.is_file():
            raise InputError(f"{path}: is no regular file; give the name of a file")
        folder = tempfile.TemporaryDirectory(
            dir=target.parent, prefix=".sfm-", ignore_cleanup_errors=True
        )
        with folder as scratch:
            inner = Path(scratch) / path.name
            yield inner
            if inner.exists():
                flush(inner)
                os.replace(inner, target)


def refuse_unwritable(path: str | Path) -> None:
    """Before the work whose result goes there; errors as `atomic`."""
    with atomic(path):  # nothing yet
        pass


def flush(path: Path) -> None:
    """Bring a file or folder to the disk, so that a rename after it never shows an empty one."""
    if os.name == "nt":  # neither folders nor files opened for reading can be flushed there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to flush
            raise
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """`text` in UTF-8, whole or not at all; errors as `atomic`."""
    with atomic(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
