"""Rebuild `g2-atomisation` from tables in ase and in chemicals; a second of work.

python datasets/g2-atomisation/build.py [--size N] [--out FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from sfm_dft.data import thermochemistry
from sfm_dft.data.specs import G2_ATOMISATION

from sfm.data.storage import write_dataset
from sfm.errors import one_line_errors

HERE = Path(__file__).resolve().parent


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, help="at most so many molecules (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="accepted, not used")
    parser.add_argument("--seed", type=int, default=0, help="accepted, not used: nothing is random")
    parser.add_argument("--out", type=Path, default=HERE, help="the dataset's folder")
    options = parser.parse_args(argv)
    rows = islice(thermochemistry.rows(), options.size)
    write_dataset(options.out, thermochemistry.columns(), rows, G2_ATOMISATION.info())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
