"""From simulated 3-D flows to the dataset `turbulence-3d`: parallel cases, rows, quality, card."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.atomic import atomic
from sfm.data.labelling import label_all
from sfm.data.spec import DatasetSpec
from sfm.data.splits import assign
from sfm.data.storage import GROUP, ID, SPLIT, Column, cache_dir, cell_column, write_dataset
from sfm.errors import InputError, one_line_errors
from sfm_fluids.data.building_2d import STRESS_BITS, VELOCITY_BITS, write_table
from sfm_fluids.data.building_simulated import check_count, settings_of
from sfm_fluids.data.dns_3d import Case3D, Quality3D, Snapshot3D, run
from sfm_fluids.data.rounding import round_mantissa
from sfm_fluids.spectral.grid_3d import Grid3D

COARSE = Grid3D(16, 16, 16)
FILTER_WIDTH = 3 * COARSE.isotropic_spacing

COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    cell_column("1"),
    Column("pbc", shape=(3,), dtype="bool"),
    Column("velocity", role="field", shape=(3, *COARSE.shape)),
    Column("reynolds", role="condition"),
    Column("viscosity", role="condition"),
    Column("time", role="condition"),
    Column("sgs_stress", role="label", level="DNS", shape=(-1, 3, 3)),
)
MEASURES = tuple(f.name for f in fields(Quality3D))


def _place(case: Case3D) -> Path:
    key = hashlib.sha256(f"1|{case!r}|{COARSE!r}|{FILTER_WIDTH!r}".encode()).hexdigest()[:24]
    return cache_dir() / "turbulence" / f"3d-{key}.npz"


def keep(case: Case3D) -> None:
    """Run a case and keep it in the cache, unless it is there already."""
    stored = _place(case)
    if stored.is_file():
        return
    *snapshots, quality = run(case, COARSE, FILTER_WIDTH)
    with atomic(stored) as scratch:
        np.savez(
            scratch,
            velocity=np.stack([s.velocity for s in snapshots if isinstance(s, Snapshot3D)]),
            stress=np.stack([s.stress for s in snapshots if isinstance(s, Snapshot3D)]),
            times=np.array([s.time for s in snapshots if isinstance(s, Snapshot3D)]),
            quality=np.array(json.dumps(asdict(quality))),
        )


def rows(case: Case3D, fractions: tuple[float, float, float]) -> Iterator[dict[str, Any]]:
    """The rows of one case, from the cache."""
    with np.load(_place(case), allow_pickle=False) as file:
        arrays = [file[name] for name in ("times", "velocity", "stress")]
    for number, (time, velocity, stress) in enumerate(zip(*arrays, strict=True)):
        values = {
            "id": f"{case.name}-{number:03d}",
            "split": assign(case.name, fractions),
            "group": case.name,
            "cell": np.diag(COARSE.lengths),
            "pbc": np.ones(3, dtype=bool),
            "velocity": round_mantissa(velocity, VELOCITY_BITS),
            "reynolds": 1 / case.viscosity,
            "viscosity": case.viscosity,
            "time": time,
            "sgs_stress": round_mantissa(
                np.moveaxis(stress, (0, 1), (3, 4)).reshape(-1, 3, 3), STRESS_BITS
            ),
        }
        yield {column.name: values[column.quantity] for column in COLUMNS}


def build(
    cases: Sequence[Case3D],
    spec: DatasetSpec,
    folder: Path,
    *,
    fractions: tuple[float, float, float],
    workers: int = 1,
    cluster: str | None = None,
) -> list[tuple[Case3D, Quality3D]]:
    """Simulate in parallel, write `folder/data` and `folder/quality.csv`.

    Raises:
        RunError: some cases failed; each is named, the others are kept in the cache.
    """
    label_all(keep, cases, [c.name for c in cases], workers=workers, cluster=cluster)
    found = (row for case in cases for row in rows(case, fractions))
    write_dataset(folder, COLUMNS, found, spec.info(filter_width=FILTER_WIDTH))
    quality = []
    for case in cases:
        with np.load(_place(case), allow_pickle=False) as file:
            quality.append((case, Quality3D(**json.loads(str(file["quality"])))))
    path = folder / "quality.csv"
    with atomic(path) as scratch, scratch.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("group", "points", "dt", *MEASURES))
        for case, q in quality:
            values = (f"{getattr(q, name):.3g}" for name in MEASURES)
            table.writerow((case.name, case.points, case.dt, *values))
    return quality


def quality_table(quality: Sequence[tuple[Case3D, Quality3D]]) -> str:
    """Markdown: one line per trajectory, with how well it was resolved."""
    lines = [
        "| trajectory | grid | dt | rms u | kmax l_K | E(kmax) / max E | budget | divergence "
        "| residual | CFL |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, q in quality:
        lines.append(
            f"| {case.name} | {case.points}^3 | {case.dt:g} | {q.rms_velocity:.2f} "
            f"| {q.kmax_kolmogorov_length:.2f} | {q.spectrum_tail:.1e} | {q.budget_residual:.1e} "
            f"| {q.max_divergence:.0e} | {q.equation_residual:.1e} | {q.courant:.2f} |"
        )
    return "\n".join(lines)


@one_line_errors
def main(
    text: str,
    spec: DatasetSpec,
    here: Path,
    cases: Sequence[Case3D],
    argv: Sequence[str] | None = None,
    *,
    fractions: tuple[float, float, float],
) -> int:
    """Command line of its `build.py`; the exit code. `--size` counts snapshots in all."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--size", type=int, help="snapshots in all")
    parser.add_argument("--workers", type=int, default=1, help="local processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="added to the seeds")
    parser.add_argument("--out", type=Path, default=here, help="folder to write to")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="K=V",
        help="points=N of the simulation, cluster=ADDRESS of a Dask scheduler",
    )
    options = parser.parse_args(argv)
    settings = settings_of(options.set)
    cluster = settings.pop("cluster", None)
    for name in ("size", "workers"):
        check_count(name, getattr(options, name))
    own = changed(cases, settings, options.size, options.seed)
    if own != list(cases) and options.out.resolve() == here.resolve():
        raise InputError("these options change the data: give --out FOLDER for it")
    quality = build(
        own, spec, options.out, fractions=fractions, workers=options.workers, cluster=cluster
    )
    card = options.out / "README.md"
    if card.is_file():
        write_table(card, quality_table(quality))
    return 0


def changed(
    cases: Sequence[Case3D], settings: dict[str, Any], size: int | None, seed: int
) -> list[Case3D]:
    """The cases with other seeds, fewer snapshots, another number of grid points.

    Raises:
        InputError: an unknown setting.
    """
    unknown = next((k for k in settings if k != "points"), None)
    if unknown is not None:
        raise InputError(f"--set {unknown}: no such setting (known: points, cluster)")
    points = settings.get("points", COARSE.shape[0])
    if isinstance(points, bool) or not isinstance(points, int) or points < COARSE.shape[0]:
        raise InputError(
            f"--set points={points}: give a whole number of at least {COARSE.shape[0]}, the "
            "filtered grid's"
        )
    total = sum(c.snapshots for c in cases)
    return [
        replace(
            c,
            seed=c.seed + seed,
            snapshots=c.snapshots if size is None else max(1, round(c.snapshots * size / total)),
            **settings,
        )
        for c in cases
    ]
