"""Rebuild `dft-small`: label molecules with PySCF, then write the table. See README.md beside.

    python datasets/dft-small/build.py [--size N] [--workers N] [--seed N] [--out FOLDER]

About 1.5 seconds of one core per molecule with 8 electrons, 5 with 40. Stop and start as you like.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sfm_dft.data import building_small as building
from sfm_dft.data import label_folder
from sfm_dft.data.specs import DFT_SMALL

from sfm.data.storage import cache_dir, write_dataset
from sfm.errors import one_line_errors

HERE = Path(__file__).resolve().parent


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=500, help="molecules, two geometries each")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE, help="the dataset's folder")
    parser.add_argument("--work", type=Path, help="labels made so far (default: the cache)")
    parser.add_argument("--statistics", type=Path, help="also write the encoder's statistics here")
    options = parser.parse_args(argv)
    work = options.work or cache_dir() / f"dft-small-{options.seed}"
    order = building.candidates(options.seed)
    label = partial(building.label_one, seed=options.seed, folder=work)
    done = label_folder.label_first(label, order, options.size, work, workers=options.workers)
    table = list(building.rows(done, work))
    write_dataset(options.out, building.columns(), table, DFT_SMALL.info(seed=options.seed))
    if options.statistics:
        building.write_statistics(table, options.statistics)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
