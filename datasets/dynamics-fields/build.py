"""Rebuild `dynamics-fields` with the plugin's simulators; see README.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_dynamics.data import building


def main(argv: Sequence[str] | None = None) -> int:
    """Options: `--size`, `--seed`, `--out`."""
    return building.main("dynamics-fields", Path(__file__).resolve().parent, argv)


if __name__ == "__main__":
    raise SystemExit(main())
