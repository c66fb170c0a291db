"""Rebuild `mesh-smithers`: finite-element snapshots from the wheel of smithers.

python datasets/mesh-smithers/build.py [--set snapshots=all --out FOLDER] [--size ROWS]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from sfm_fluids.data import smithers
from sfm_fluids.data.specs import MESH_SMITHERS

from sfm.data.storage import write_dataset
from sfm.errors import InputError, one_line_errors

HERE = Path(__file__).resolve().parent


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, help="at most so many rows")
    parser.add_argument("--workers", type=int, default=1, help="accepted: nothing is computed")
    parser.add_argument("--seed", type=int, default=0, help="accepted: nothing is random")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--set", action="append", default=[], help="snapshots=all or slice")
    options = parser.parse_args(argv)
    for setting in options.set:
        if setting not in ("snapshots=all", "snapshots=slice"):
            raise InputError(f"--set {setting}: there is snapshots=all and snapshots=slice")
    whole = "snapshots=all" in options.set
    if options.size is not None and options.size < 1:
        raise InputError(f"--size {options.size}: must be at least 1")
    if (whole or options.size is not None) and options.out.resolve() == HERE:
        raise InputError("these options change the data: give --out FOLDER for it")
    rows = islice(smithers.rows(whole=whole), options.size)
    write_dataset(options.out, smithers.COLUMNS, rows, MESH_SMITHERS.info())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
