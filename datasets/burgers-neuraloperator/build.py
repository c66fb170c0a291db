"""Rebuild `burgers-neuraloperator`: Burgers' equation from the wheel of neuraloperator.

python datasets/burgers-neuraloperator/build.py [--size ROWS] [--out FOLDER]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import building_published, neuraloperator
from sfm_fluids.data.specs import BURGERS

HERE = Path(__file__).resolve().parent


def main(argv: Sequence[str] | None = None) -> int:
    return building_published.main(
        __doc__, BURGERS, HERE, neuraloperator.BURGERS_COLUMNS, neuraloperator.burgers_rows, argv
    )


if __name__ == "__main__":
    raise SystemExit(main())
