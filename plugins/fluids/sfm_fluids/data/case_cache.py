"""Where finished simulations are kept, so that a build that was stopped goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sfm.data.storage import cache_dir


def place(version: int, *what: object, prefix: str = "") -> Path:
    """The file of the simulation that `what` describes; `version` counts changes of its format."""
    text = "|".join((str(version), *map(repr, what)))
    key = hashlib.sha256(text.encode()).hexdigest()[:24]
    return cache_dir() / "turbulence" / f"{prefix}{key}.npz"
