"""Rebuild `darcy-neuraloperator-32`: Darcy flow from the wheel of neuraloperator.

python datasets/darcy-neuraloperator-32/build.py [--size ROWS] [--out FOLDER]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sfm_fluids.data import building_published, neuraloperator
from sfm_fluids.data.specs import DARCY_32

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    return building_published.main(
        __doc__,
        DARCY_32,
        HERE,
        neuraloperator.darcy_columns(32),
        partial(neuraloperator.darcy_rows, ("darcy_test_32",)),
        argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
