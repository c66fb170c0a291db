"""Build `molecules-xtb-wide` from its archives; see README.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence

from sfm_molecules import building
from sfm_molecules.specs import MOLECULES_XTB_WIDE


def main(argv: Sequence[str] | None = None) -> None:
    """Options: `--size`, `--workers`, `--seed`, `--out`."""
    building.main("molecules-xtb-wide", MOLECULES_XTB_WIDE.folder, argv)


if __name__ == "__main__":
    main()
