"""Rebuild `turbulence-2d`: simulate, filter, write. About ten minutes on one core.

python datasets/turbulence-2d/build.py [--workers N] [--size SNAPSHOTS] [--seed N] [--out FOLDER]
    [--set grid=64 reynolds=[125,500] flows=[ring,shear] interval=0.1 ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import building_2d
from sfm_fluids.data.cases import Ensemble, Resolution
from sfm_fluids.data.specs import TURBULENCE_2D

HERE = Path(__file__).resolve().parent


def resolutions(spin_up: float) -> tuple[Resolution, ...]:
    """Re 125, 250, 500 and 1000."""
    return (
        Resolution(8e-3, 96, 0.0125, spin_up),
        Resolution(4e-3, 128, 0.01, spin_up),
        Resolution(2e-3, 192, 0.00625, spin_up),
        Resolution(1e-3, 256, 0.003125, spin_up),
    )


ENSEMBLES = (
    Ensemble(("kolmogorov", "ring", "decaying"), resolutions(8.0), 0.25, 22),
    Ensemble(("shear", "jet"), resolutions(4.0), 0.25, 14, first=6),
)


def main(argv: Sequence[str] | None = None) -> int:
    return building_2d.main(
        __doc__, TURBULENCE_2D, HERE, ENSEMBLES, argv, seed=900, fractions=(0.75, 0.1, 0.15)
    )


if __name__ == "__main__":
    raise SystemExit(main())
