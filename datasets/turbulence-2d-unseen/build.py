"""Rebuild `turbulence-2d-unseen`: flows at Reynolds numbers that no model trains on.

python datasets/turbulence-2d-unseen/build.py [--workers N] [--size SNAPSHOTS] [--seed N]
    [--out FOLDER] [--set grid=64 interval=0.1 ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import building_2d
from sfm_fluids.data.cases import Ensemble, Resolution
from sfm_fluids.data.specs import TURBULENCE_2D_UNSEEN

HERE = Path(__file__).resolve().parent
ENSEMBLES = (
    Ensemble(
        ("kolmogorov", "ring", "decaying"),
        (Resolution(1 / 700, 192, 0.005, 8.0), Resolution(1 / 2000, 256, 0.003125, 6.0)),
        0.5,
        8,
    ),
)
# a third to train on (fine-tuning), a sixth to select, half to test
FRACTIONS = (0.35, 0.15, 0.5)


def main(argv: Sequence[str] | None = None) -> int:
    return building_2d.main(
        __doc__, TURBULENCE_2D_UNSEEN, HERE, ENSEMBLES, argv, seed=300, fractions=FRACTIONS
    )


if __name__ == "__main__":
    raise SystemExit(main())
