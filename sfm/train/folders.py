"""Where a run lies in the folder of its model; imports nothing heavy, so that checks come early."""

from __future__ import annotations

from pathlib import Path

from sfm.errors import InputError
from sfm.hub.files import WEIGHTS

RUN = "run"
LAST = "last.ckpt"


def refuse_old_run(out: Path, resume: bool) -> None:
    """Never write over a run or a model.

    Raises:
        InputError: `out` holds one, and it is not to be resumed.
    """
    if not resume and (out / RUN / LAST).exists():
        raise InputError(f"{out}: already holds a run; take --resume to go on, or another folder")
    if not resume and (out / WEIGHTS).exists():
        raise InputError(f"{out}: already holds a model; take another folder")
