"""The command line of the `build.py` of datasets that are simulated."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfm.data.spec import DatasetSpec
from sfm.errors import InputError, one_line_errors
from sfm.formats import yaml12
from sfm_fluids.data.building_2d import build, quality_table, write_table
from sfm_fluids.data.cases import SETTINGS, Ensemble, changed, planned
from sfm_fluids.spectral.grid_2d import Grid


def parser(text: str, *, size: str, seed: int, out: Path) -> argparse.ArgumentParser:
    """`--size`, `--workers`, `--seed`, `--out` and `--set`."""
    found = argparse.ArgumentParser(description=text.splitlines()[0])
    found.add_argument("--size", type=int, help=size)
    found.add_argument("--workers", type=int, default=1, help="local processes (%(default)s)")
    found.add_argument("--seed", type=int, default=seed, help="of phases (%(default)s)")
    found.add_argument("--out", type=Path, default=out, help="folder to write to")
    found.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="K=V",
        help=f"cluster=ADDRESS of a Dask scheduler; {', '.join(SETTINGS)}",
    )
    return found


@one_line_errors
def main(
    text: str,
    spec: DatasetSpec,
    here: Path,
    ensembles: Sequence[Ensemble],
    argv: Sequence[str] | None = None,
    *,
    seed: int,
    fractions: tuple[float, float, float],
) -> int:
    """Build a dataset of filtered two-dimensional flows; the exit code.

    `--set grid=64` is the number of points of the filtered flow; its filter stays three of its
    spacings wide. What changes the data needs `--out`.
    """
    options = parser(text, size="snapshots in all", seed=seed, out=here).parse_args(argv)
    settings = settings_of(options.set)
    cluster = settings.pop("cluster", None)
    for name in ("size", "workers"):
        check_count(name, getattr(options, name))
    if settings:
        ensembles = changed(ensembles, settings)
    other = settings or options.size is not None or options.seed != seed
    if other and options.out.resolve() == here.resolve():
        raise InputError("these options change the data: give --out FOLDER for it")
    points = _points(settings.get("grid", 32))
    coarse = Grid(points, points)
    quality = build(
        planned(ensembles, options.seed, options.size),
        spec,
        options.out,
        fractions=fractions,
        coarse=coarse,
        width=3 * coarse.isotropic_spacing,
        workers=options.workers,
        cluster=cluster,
    )
    card = options.out / "README.md"
    if card.is_file():
        write_table(card, quality_table(quality))
    return 0


def settings_of(items: Sequence[str]) -> dict[str, Any]:
    """`["grid=64", "reynolds=[125, 500]"]` as a dictionary; values as recipes write them."""
    found: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or key in found:
            raise InputError(f"--set {item}: write KEY=VALUE, each key once")
        found[key] = yaml12.read(text, f"--set {item}")
    return found


def check_count(name: str, value: int | None) -> None:
    """Raises InputError if `--name` was given and is below 1."""
    if value is not None and value < 1:
        raise InputError(f"--{name} {value}: must be at least 1")


def _points(value: Any) -> int:
    if not isinstance(value, int) or value < 8:
        raise InputError(f"--set grid={value}: give a whole number of points, at least 8")
    return value
