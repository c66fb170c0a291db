"""Rebuild `turbulence-2d-steps`: simulate, filter, pair. About four minutes on one core.

python datasets/turbulence-2d-steps/build.py [--size PAIRS] [--seed N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sfm_fluids.data.build_options import check_count
from sfm_fluids.data.dns_2d import Case
from sfm_fluids.data.next_state import build
from sfm_fluids.data.specs import TURBULENCE_2D_STEPS
from sfm_fluids.flows.members import Member

from sfm.errors import InputError, one_line_errors

HERE = Path(__file__).resolve().parent
KINDS = ("kolmogorov", "ring", "decaying")
COPIES = 4
SIZE, SEED = 360, 1500
# viscosity, grid points, time step
RESOLUTIONS = ((8e-3, 96, 0.0125), (4e-3, 128, 0.01), (2e-3, 192, 0.00625))


def cases(pairs: int, seed: int) -> list[Case]:
    """Four trajectories of each kind at each viscosity."""
    members = [
        tuple(
            Member(kind, seed + 20 * level + COPIES * number + copy)
            for number, kind in enumerate(KINDS)
            for copy in range(COPIES)
        )
        for level in range(len(RESOLUTIONS))
    ]
    return [
        Case(nu, points, dt, 6.0, 0.1, pairs + 1, starts)
        for (nu, points, dt), starts in zip(RESOLUTIONS, members, strict=True)
    ]


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=SIZE, help="pairs in all (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="accepted, not used: one batch")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args(argv)
    check_count("size", args.size)
    changed = (args.size, args.seed) != (SIZE, SEED)
    if changed and args.out.resolve() == HERE:
        raise InputError("these options change the data: give --out FOLDER for it")
    each = max(1, round(args.size / (len(KINDS) * COPIES * len(RESOLUTIONS))))
    build(cases(each, args.seed), TURBULENCE_2D_STEPS, args.out, fractions=(0.7, 0.1, 0.2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
