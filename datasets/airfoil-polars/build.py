"""Rebuild `airfoil-polars`: what NeuralFoil says of airfoils (extra `airfoils`).

python datasets/airfoil-polars/build.py [--set cases=all --out FOLDER] [--size ROWS]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from sfm_fluids.data import airfoils
from sfm_fluids.data.specs import AIRFOIL_POLARS

from sfm.data.storage import write_dataset
from sfm.errors import InputError, one_line_errors

HERE = Path(__file__).resolve().parent


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, help="at most so many rows")
    parser.add_argument("--workers", type=int, default=1, help="accepted: one process does it")
    parser.add_argument("--seed", type=int, default=0, help="accepted: nothing is random")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--set", action="append", default=[], help="cases=all or slice")
    options = parser.parse_args(argv)
    for setting in options.set:
        if setting not in ("cases=all", "cases=slice"):
            raise InputError(f"--set {setting}: there is cases=all and cases=slice")
    whole = "cases=all" in options.set
    if options.size is not None and options.size < 1:
        raise InputError(f"--size {options.size}: must be at least 1")
    if (whole or options.size is not None) and options.out.resolve() == HERE:
        raise InputError("these options change the data: give --out FOLDER for it")
    rows = islice(airfoils.rows(whole=whole), options.size)
    write_dataset(options.out, airfoils.COLUMNS, rows, AIRFOIL_POLARS.info())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
