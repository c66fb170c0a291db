"""Rebuild `mesh-smithers`: finite-element snapshots from the wheel of smithers.

python datasets/mesh-smithers/build.py [--set snapshots=all --out FOLDER] [--size ROWS]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import building_published, smithers
from sfm_fluids.data.specs import MESH_SMITHERS

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    return building_published.main(
        __doc__, MESH_SMITHERS, HERE, smithers.COLUMNS, smithers.rows, argv, slice_of="snapshots"
    )


if __name__ == "__main__":
    raise SystemExit(main())
