"""Rebuild `airfoil-polars`: what NeuralFoil says of airfoils (extra `airfoils`).

python datasets/airfoil-polars/build.py [--set cases=all --out FOLDER] [--size ROWS]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import airfoils, building_published
from sfm_fluids.data.specs import AIRFOIL_POLARS

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    return building_published.main(
        __doc__, AIRFOIL_POLARS, HERE, airfoils.COLUMNS, airfoils.rows, argv, slice_of="cases"
    )


if __name__ == "__main__":
    raise SystemExit(main())
