"""Rebuild `piv-measured`: measured velocities from the wheel of pivpy.

python datasets/piv-measured/build.py [--size ROWS] [--out FOLDER]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import building_published, piv
from sfm_fluids.data.specs import PIV_MEASURED

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    return building_published.main(__doc__, PIV_MEASURED, HERE, piv.COLUMNS, piv.rows, argv)


if __name__ == "__main__":
    raise SystemExit(main())
