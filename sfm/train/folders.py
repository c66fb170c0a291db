"""Where a run lies in the folder of its model; imports nothing heavy, so that checks come early."""

from __future__ import annotations

from pathlib import Path

from sfm.errors import InputError

RUN = "run"
LAST = "last.ckpt"


def refuse_old_run(out: Path, resume: bool) -> None:
    """Never write over a run.

    Raises:
        InputError: `out` holds one, and it is not to be resumed.
    """
    if not resume and (out / RUN / LAST).exists():
        raise InputError(f"{out}: already holds a run; take --resume to go on, or another folder")
