"""Build `molecules-ions` from its archives; see README.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_molecules.data import building


def main(argv: Sequence[str] | None = None) -> int:
    """Options: `--size`, `--workers`, `--seed`, `--out`."""
    return building.main("molecules-ions", Path(__file__).resolve().parent, argv)


if __name__ == "__main__":
    raise SystemExit(main())
