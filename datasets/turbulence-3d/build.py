"""Rebuild `turbulence-3d`: simulate, filter, write. About four minutes on one core.

python datasets/turbulence-3d/build.py [--workers N] [--size SNAPSHOTS] [--seed N] [--out FOLDER]
    [--set points=96]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data import building_3d
from sfm_fluids.data.dns_3d import Case3D
from sfm_fluids.data.specs import TURBULENCE_3D

HERE = Path(__file__).resolve().parent
# kind, viscosity, seed, points, dt, spin-up, interval, snapshots
CASES = (
    Case3D("taylor-green", 0.01, 0, 64, 0.025, 4.0, 1.0, 5),
    Case3D("taylor-green", 0.005, 0, 64, 0.025, 4.0, 1.0, 5),
    *(Case3D("decaying", 0.02, seed, 64, 0.0125, 1.0, 0.5, 5) for seed in (2, 3)),
    *(Case3D("abc", 0.02, seed, 64, 0.0125, 4.0, 1.0, 5) for seed in (1, 4)),
    *(Case3D("kolmogorov", 0.02, seed, 64, 0.0125, 4.0, 1.0, 5) for seed in (3, 4)),
)


def main(argv: Sequence[str] | None = None) -> int:
    return building_3d.main(__doc__, TURBULENCE_3D, HERE, CASES, argv, fractions=(0.6, 0.2, 0.2))


if __name__ == "__main__":
    raise SystemExit(main())
