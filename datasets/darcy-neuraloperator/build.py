"""Rebuild `darcy-neuraloperator`: Darcy flow from the wheel of neuraloperator.

python datasets/darcy-neuraloperator/build.py [--size ROWS] [--out FOLDER]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sfm_fluids.data import building_published, neuraloperator
from sfm_fluids.data.specs import DARCY

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    return building_published.main(
        __doc__,
        DARCY,
        HERE,
        neuraloperator.darcy_columns(16),
        partial(neuraloperator.darcy_rows, ("darcy_train_16", "darcy_test_16")),
        argv,
    )


if __name__ == "__main__":
    raise SystemExit(main())
