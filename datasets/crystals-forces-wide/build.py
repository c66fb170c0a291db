"""Rebuild `crystals-forces-wide` from its archives; see README.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence

from sfm_crystals import building
from sfm_crystals.specs import CRYSTALS_FORCES_WIDE


def main(argv: Sequence[str] | None = None) -> None:
    """Options: `--size`, `--workers`, `--seed`, `--out`."""
    building.main("crystals-forces-wide", CRYSTALS_FORCES_WIDE.folder, argv)


if __name__ == "__main__":
    main()
