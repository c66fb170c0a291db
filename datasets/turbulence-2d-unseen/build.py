"""Rebuild `turbulence-2d-unseen`: flows at Reynolds numbers that no model trains on.

python datasets/turbulence-2d-unseen/build.py [--size SNAPSHOTS] [--seed N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data.building import build, quality_table, write_table
from sfm_fluids.data.dns import Case, Member
from sfm_fluids.data.specs import TURBULENCE_2D_UNSEEN

HERE = Path(__file__).resolve().parent
TRAJECTORIES = 12
# viscosity, grid points, time step, spin-up
RESOLUTIONS = ((1 / 700, 192, 0.005, 8.0), (1 / 2000, 256, 0.003125, 6.0))


def cases(snapshots: int, seed: int) -> list[Case]:
    """Six trajectories at each viscosity: two of each kind of flow."""
    return [
        Case(
            nu,
            points,
            dt,
            spin_up,
            0.5,
            snapshots,
            tuple(
                Member(kind, seed + 10 * level + 2 * number + copy)
                for number, kind in enumerate(("kolmogorov", "ring", "decaying"))
                for copy in range(2)
            ),
            "float64" if points < 200 else "float32",
        )
        for level, (nu, points, dt, spin_up) in enumerate(RESOLUTIONS)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=96, help="snapshots in all (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="accepted, not used: one batch")
    parser.add_argument("--seed", type=int, default=300)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args(argv)
    each = max(1, round(args.size / TRAJECTORIES))
    # a third to train on (fine-tuning), a sixth to select, half to test
    quality = build(
        cases(each, args.seed), TURBULENCE_2D_UNSEEN, args.out, fractions=(0.35, 0.15, 0.5)
    )
    card = args.out / "README.md"
    if card.is_file():
        write_table(card, quality_table(quality))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
