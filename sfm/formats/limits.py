"""How much memory a file may ask for, by its length, and how many digits a number may have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from sfm.errors import InputError

BASE = 2**26  # bytes for any file
RATIO = 1100  # bytes per byte of the file: deflate packs at most 1032 into one
MOST_DIGITS = 1_000  # of a whole number in JSON or YAML


class Budget:
    """Bytes that may still be allocated for one file of N bytes: 64 MiB + 1100 N at first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = BASE + RATIO * path.stat().st_size

    def take(self, name: str, shape: Sequence[int], itemsize: int) -> None:
        """Account for an array.

        Raises:
            InputError: the file is too short to hold it.
        """
        self.left -= math.prod(map(int, shape)) * itemsize
        if self.left < 0:
            raise InputError(
                f"{self.path}: '{name}' claims {' x '.join(map(str, shape))} numbers, more than a "
                f"file of {self.path.stat().st_size} bytes can hold; it is damaged or made up"
            )
