"""One run at a time in a folder."""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sfm.data.atomic import disk_errors
from sfm.errors import InputError, SfmWarning

LOCK = ".sfm-run.lock"
HELD = "SFM_HELD_FOLDER"  # of a process that works for the one that holds this folder


@contextmanager
def only_run(folder: str | Path) -> Iterator[None]:
    """Hold `folder` for the run in the block; the system lets go of it when the process dies.

    The other processes of a distributed run do not ask: the first one holds it for all. Nor does
    a process that the holder started with `HELD`.

    Raises:
        InputError: another run holds it (its process, machine, start and command are named), or
            the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    if _rank() != 0 or os.environ.get(HELD) == os.path.realpath(folder):
        yield
        return
    path, fresh = folder / LOCK, not folder.exists()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    held = True
    try:
        with disk_errors(path):
            lock.acquire(timeout=0)
            path.write_text(_who(), encoding="utf-8")
    except Timeout:
        first = path.read_text(encoding="utf-8", errors="replace").strip()
        raise InputError(
            f"{folder}: is in use by {first or 'another run'}; wait for it, or take another folder"
        ) from None
    except NotImplementedError:  # a file system without locks
        warnings.warn(f"{folder}: cannot be locked, keep other runs out", SfmWarning, stacklevel=3)
        held = False
    try:
        yield
    finally:
        if held:
            path.unlink(missing_ok=True)  # while held: whoever waits on it looks for a new one
            lock.release()
        if fresh:
            with suppress(OSError):  # not empty: the run wrote something
                folder.rmdir()


def _who() -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {platform.node()} since {started}: {command}\n"


def _rank() -> int:
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # the order in which lightning asks
    return int(next((os.environ[n] for n in names if os.environ.get(n)), "0"))
