"""Rebuild `sst-ostia`: sea-surface temperature from the wheel of iris-sample-data.

python datasets/sst-ostia/build.py [--size ROWS] [--out FOLDER]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import building_published, sea_surface
from sfm_fluids.data.specs import SST_OSTIA

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    return building_published.main(
        __doc__, SST_OSTIA, HERE, sea_surface.COLUMNS, sea_surface.rows, argv
    )


if __name__ == "__main__":
    raise SystemExit(main())
