"""Rebuild `dft-levels`: label molecules with PySCF, then write the table. See README.md beside.

    sfm dataset build dft/dft-levels [--size N] [--workers N] [--seed N] [--out FOLDER] [--set K=V]

Settings: coefficients=N (rows that carry density coefficients), work=FOLDER (labels made so far),
cluster=tcp://host:8786 (a Dask scheduler). 1.6 to 4 CPU seconds per molecule. Stop and start
as you like: labels are kept, and molecules that cannot be labelled are listed in failures.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sfm_dft.data import building_levels as building
from sfm_dft.data import label_folder
from sfm_dft.data.specs import DFT_LEVELS

from sfm.cli.values import parse_settings
from sfm.data.storage import cache_dir, write_dataset
from sfm.errors import InputError, one_line_errors

HERE = Path(__file__).resolve().parent
SIZE, COEFFICIENTS = 5000, 5000
SETTINGS = ("coefficients", "work", "cluster")


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=SIZE, help="molecules (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="local processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE, help="the dataset's folder")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="K=V", help=", ".join(SETTINGS)
    )
    options = parser.parse_args(argv)
    return build(options)


def build(options: argparse.Namespace) -> int:
    """Label what is missing; write `data/`, `failures.csv` and the counts in the card."""
    settings = parse_settings(options.set)
    if unknown := set(settings) - set(SETTINGS):
        raise InputError(f"--set {sorted(unknown)[0]}: not one of {', '.join(SETTINGS)}")
    with_coefficients = settings.get("coefficients", COEFFICIENTS)
    for name, count, least in (
        ("--size", options.size, 1),
        ("--workers", options.workers, 1),
        ("--set coefficients", with_coefficients, 0),
    ):
        if not isinstance(count, int) or count < least:
            raise InputError(f"{name} {count}: give a whole number, at least {least}")
    changed = (options.size, options.seed, with_coefficients) != (SIZE, 0, COEFFICIENTS)
    if changed and options.out.resolve() == HERE:
        raise InputError("these options change the data: give --out FOLDER for it")
    work = Path(settings.get("work", cache_dir() / f"dft-levels-{options.seed}"))
    order = building.candidates(options.seed)
    done = label_folder.label_first(
        partial(building.label_one, seed=options.seed, folder=work),
        order,
        options.size,
        work,
        workers=options.workers,
        cluster=settings.get("cluster"),
    )
    if not done:
        raise InputError(f"none of {len(order)} molecules could be labelled: see {work}")
    table = list(building.rows(done, work, with_coefficients))
    write_dataset(options.out, building.columns(), table, DFT_LEVELS.info(seed=options.seed))
    failed = label_folder.failures(order[: order.index(done[-1]) + 1], work)
    label_folder.write_failures(failed, options.out / "failures.csv")
    card = options.out / "README.md"
    if card.is_file():
        building.write_counts(card, building.counts(table, failed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
