"""From simulated 3-D flows to the dataset `turbulence-3d`: parallel cases, rows, quality, card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.atomic import atomic
from sfm.data.labelling import label_all
from sfm.data.rounding import round_mantissa
from sfm.data.spec import DatasetSpec
from sfm.data.splits import assign
from sfm.data.storage import Column, write_dataset
from sfm.errors import InputError, one_line_errors
from sfm_fluids.data import build_options, case_cache, quality_table
from sfm_fluids.data.columns import ROW
from sfm_fluids.data.dns_3d import Case3D, Quality3D, Snapshot3D, run
from sfm_fluids.data.rounding import STRESS_BITS, VELOCITY_BITS
from sfm_fluids.spectral.grid_3d import Grid3D

COARSE = Grid3D(16, 16, 16)
FILTER_WIDTH = 3 * COARSE.isotropic_spacing

COLUMNS = (
    *ROW,
    Column("velocity", role="field", shape=(3, *COARSE.shape)),
    Column("reynolds", role="condition"),
    Column("viscosity", role="condition"),
    Column("time", role="condition"),
    Column("sgs_stress", role="label", level="DNS", shape=(-1, 3, 3)),
)
MEASURES = tuple(f.name for f in fields(Quality3D))


def _place(case: Case3D) -> Path:
    return case_cache.place(1, case, COARSE, FILTER_WIDTH, prefix="3d-")


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
    table = (row for case in cases for row in rows(case, fractions))
    write_dataset(folder, COLUMNS, table, spec.info(filter_width=FILTER_WIDTH))
    quality = []
    for case in cases:
        with np.load(_place(case), allow_pickle=False) as file:
            quality.append((case, Quality3D(**json.loads(str(file["quality"])))))
    lines = [
        (case.name, case.points, case.dt, *(f"{getattr(q, name):.3g}" for name in MEASURES))
        for case, q in quality
    ]
    quality_table.write_csv(folder / "quality.csv", ("group", "points", "dt", *MEASURES), lines)
    return quality


def resolution(quality: Sequence[tuple[Case3D, Quality3D]]) -> str:
    """Markdown: one line per trajectory, with how well it was resolved."""
    header = "trajectory|grid|dt|rms u|kmax l_K|E(kmax) / max E|budget|divergence|residual|CFL"
    rows = [
        (
            case.name,
            f"{case.points}^3",
            f"{case.dt:g}",
            *quality_table.measured(q, "kmax_kolmogorov_length"),
        )
        for case, q in quality
    ]
    return quality_table.markdown(header.split("|"), rows)


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
    options = build_options.read(
        text,
        here,
        argv,
        seed=0,
        seed_help="added to the seeds",
        settings="points=N of the simulation, cluster=ADDRESS of a Dask scheduler",
    )
    planned = changed(cases, options.settings, options.size, options.seed)
    options.check_elsewhere(here, planned != list(cases))
    quality = build(
        planned,
        spec,
        options.out,
        fractions=fractions,
        **options.parallel,
    )
    quality_table.write_to_card(options.out, resolution(quality))
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
