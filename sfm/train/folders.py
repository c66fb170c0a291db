"""Where a run lies in the folder of its model; imports nothing heavy, so that checks come early."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from sfm.data.lock import LOCK, only_run
from sfm.errors import InputError
from sfm.hub.files import WEIGHTS

RUN = "run"
LAST = "last.ckpt"
STABLE = "stable.ckpt"  # before the last decay: where a longer run goes on from
PROGRESS = "progress.json"  # how the run goes, for whoever watches it
P = ParamSpec("P")


def one_run(train: Callable[P, Path]) -> Callable[P, Path]:
    """`train(..., out, resume)`, its folder checked by `refuse_old_run` and held for it alone."""
    signature = inspect.signature(train)

    @functools.wraps(train)
    def run(*args: P.args, **options: P.kwargs) -> Path:
        given = signature.bind(*args, **options)
        given.apply_defaults()
        out = Path(given.arguments["out"])
        refuse_old_run(out, given.arguments["resume"])
        with only_run(out):
            return train(*args, **options)

    return run


def refuse_old_run(out: Path, resume: bool) -> None:
    """Never write over a run or a model.

    Raises:
        InputError: `out` holds one, and it is not to be resumed; another run is at work there; or
            it is no folder.
    """
    there = next((p for p in (out, *out.parents) if p.exists()), out)
    if there.exists() and not there.is_dir():
        inside = "" if there == out else f"{there} "
        raise InputError(f"{out}: {inside}is a file; name a folder")
    if (out / LOCK).exists():
        with only_run(out):
            pass
    if not resume and (out / RUN / LAST).exists():
        raise InputError(f"{out}: already holds a run; take --resume to go on, or another folder")
    if not resume and (out / WEIGHTS).exists():
        raise InputError(f"{out}: already holds a model; take another folder")
