"""Rebuild `turbulence-2d`: simulate, filter, write. About six minutes on one core.

python datasets/turbulence-2d/build.py [--size SNAPSHOTS] [--seed N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data.building import build, quality_table, write_table
from sfm_fluids.data.dns import Case, Member
from sfm_fluids.data.specs import TURBULENCE_2D

HERE = Path(__file__).resolve().parent
TRAJECTORIES = 24
# viscosity, grid points, time step
RESOLUTIONS = ((8e-3, 96, 0.0125), (4e-3, 128, 0.01), (2e-3, 192, 0.00625), (1e-3, 256, 0.003125))


def cases(snapshots: int, seed: int) -> list[Case]:
    """Six trajectories at each viscosity: two of each kind of flow."""
    return [
        Case(
            nu,
            points,
            dt,
            8.0,
            0.25,
            snapshots,
            tuple(
                Member(kind, seed + 10 * level + 2 * number + copy)
                for number, kind in enumerate(("kolmogorov", "ring", "decaying"))
                for copy in range(2)
            ),
            "float64" if points < 200 else "float32",
        )
        for level, (nu, points, dt) in enumerate(RESOLUTIONS)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=528, help="snapshots in all (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="accepted, not used: one batch")
    parser.add_argument("--seed", type=int, default=900)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args(argv)
    each = max(1, round(args.size / TRAJECTORIES))
    quality = build(cases(each, args.seed), TURBULENCE_2D, args.out, fractions=(0.75, 0.1, 0.15))
    card = args.out / "README.md"
    if card.is_file():
        write_table(card, quality_table(quality))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
