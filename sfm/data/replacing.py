"""Several files of one folder, replaced in one step.

New files are written into a hidden folder inside the target (so on its file system, be it a mount
point or behind a link), brought to the disk, and committed by one rename of that folder to
`.sfm-new`. From then on they count: whoever opens the folder next moves what a killed process left
there (`settle`). Before that rename nothing old is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sfm.data.atomic import disk_errors, flush
from sfm.errors import InputError

COMMITTED = ".sfm-new"
SCRATCH = ".sfm-scratch-"
STALE = ".stale.json"
LOCK = ".sfm-save.lock"


@contextmanager
def replacing(folder: str | Path, stale: Sequence[str] = ()) -> Iterator[Path]:
    """A scratch folder whose files become those of `folder` in one step if the block succeeds.

    Other files of `folder` stay.

    Args:
        folder: made where it does not exist.
        stale: patterns of old files that go in the same step, but for those with a new one.

    Raises:
        InputError: `folder` is a file, or cannot be written.
        RunError: the disk is full; the old files are untouched.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, not a folder")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        settle(folder)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=SCRATCH))
        try:
            yield scratch
            new = {p.relative_to(scratch) for p in scratch.rglob("*")}
            old = {p.relative_to(folder) for pattern in stale for p in folder.glob(pattern)}
            names = sorted(path.as_posix() for path in old - new)
            (scratch / STALE).write_text(json.dumps(names), encoding="utf-8")
            for path in [*scratch.rglob("*"), scratch]:
                path.chmod(0o755 if path.is_dir() else 0o644)
                flush(path)
            _commit(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _commit(scratch: Path, folder: Path) -> None:
    with _held(folder):
        _move(folder)
        os.rename(scratch, folder / COMMITTED)
        flush(folder)
        _move(folder)


def settle(folder: Path) -> None:
    """Finish the replacement that a killed process had committed in `folder`.

    Raises:
        InputError: there is one, and the folder cannot be written.
    """
    if (folder / COMMITTED).is_dir():
        with disk_errors(folder), _held(folder):
            _move(folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    from filelock import FileLock

    lock = FileLock(folder / LOCK, thread_local=False)
    with lock:
        yield
        (folder / LOCK).unlink(missing_ok=True)


def _move(folder: Path) -> None:
    """From the committed folder to their places; may be broken off and begun again anywhere."""
    committed = folder / COMMITTED
    if not committed.is_dir():
        return
    listed = committed / STALE
    for name in json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else ():
        (folder / name).unlink(missing_ok=True)
    for path in sorted(p for p in committed.rglob("*") if p.is_file() and p != listed):
        target = folder / path.relative_to(committed)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
    shutil.rmtree(committed)
