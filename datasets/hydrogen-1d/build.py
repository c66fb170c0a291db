"""Rebuild `hydrogen-1d`: about ten minutes on one core; resumable.

python datasets/hydrogen-1d/build.py [--size N] [--workers N] [--out FOLDER] [--work FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from sfm_dft.data.specs import HYDROGEN_1D
from sfm_dft.ladder import labels

from sfm.data.storage import write_dataset
from sfm.errors import one_line_errors

HERE = Path(__file__).resolve().parent


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, help="at most so many molecules (default: all)")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=0, help="accepted, not used: nothing is random")
    parser.add_argument("--out", type=Path, default=HERE, help="the dataset's folder")
    parser.add_argument("--work", type=Path, help="solved molecules (default: OUT/.cache)")
    options = parser.parse_args(argv)
    work = options.work or options.out / ".cache"
    work.mkdir(parents=True, exist_ok=True)
    chosen = labels.tasks()[: options.size]
    one = partial(labels.label, work=work)
    if options.workers > 1:
        with ProcessPoolExecutor(options.workers) as pool:
            for path in pool.map(one, chosen):
                print(path.stem, file=sys.stderr)
    else:
        for task in chosen:
            print(one(task).stem, file=sys.stderr)
    write_dataset(options.out, labels.columns(), labels.rows(work), HYDROGEN_1D.info())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
