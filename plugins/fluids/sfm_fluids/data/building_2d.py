"""From ensembles of simulated flows to a bundled dataset: rows, files, quality and the card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.atomic import atomic
from sfm.data.labelling import label_all, note
from sfm.data.rounding import round_mantissa
from sfm.data.spec import DatasetSpec
from sfm.data.splits import assign
from sfm.data.storage import Column, write_dataset
from sfm.errors import InputError, one_line_errors
from sfm_fluids.data import build_options, case_cache, quality_table
from sfm_fluids.data.cases import SETTINGS, Ensemble, changed, planned
from sfm_fluids.data.columns import ROW
from sfm_fluids.data.dns_2d import Case, Snapshot, run
from sfm_fluids.data.quality import Quality
from sfm_fluids.data.rounding import STRESS_BITS, VELOCITY_BITS
from sfm_fluids.flows.bundled import COARSE, FILTER_WIDTH
from sfm_fluids.flows.members import Member
from sfm_fluids.spectral.grid_2d import Grid

MEASURES = tuple(f.name for f in fields(Quality) if f.name != "member")


def columns(coarse: Grid) -> tuple[Column, ...]:
    """The columns of a dataset of filtered flows."""
    return (
        *ROW,
        Column("velocity", role="field", shape=(2, *coarse.shape)),
        Column("reynolds", role="condition"),
        Column("viscosity", role="condition"),
        Column("drag", role="condition"),
        Column("time", role="condition"),
        Column("sgs_stress", role="label", level="DNS", shape=(-1, 2, 2)),
    )


def trajectory_name(case: Case, member: Member) -> str:
    """`re1000-ring-932`."""
    return f"re{case.reynolds:.0f}-{member.kind}-{member.seed}"


def _row(
    case: Case, snapshot: Snapshot, fractions: tuple[float, float, float], coarse: Grid
) -> dict[str, Any]:
    member = snapshot.member
    group = trajectory_name(case, member)
    stress = np.moveaxis(snapshot.stress, (0, 1), (2, 3)).reshape(-1, 2, 2)
    values = {
        "id": f"{group}-{snapshot.number:03d}",
        "split": assign(group, fractions),
        "group": group,
        "cell": np.diag([coarse.length_x, coarse.length_y, 1.0]),
        "pbc": np.array([True, True, False]),
        "velocity": round_mantissa(snapshot.velocity, VELOCITY_BITS),
        "reynolds": case.reynolds,
        "viscosity": case.viscosity,
        "drag": member.drag,
        "time": snapshot.time,
        "sgs_stress": round_mantissa(stress, STRESS_BITS),
    }
    return {column.name: values[column.quantity] for column in columns(coarse)}


def _place(case: Case, coarse: Grid, width: float) -> Path:
    return case_cache.place(2, case, coarse, width)


def keep(
    case: Case, coarse: Grid = COARSE, width: float = FILTER_WIDTH, log: Any = lambda text: None
) -> None:
    """Run a case and keep it in the cache, unless it is there already."""
    stored = _place(case, coarse, width)
    if stored.is_file():
        return
    items = list(run(case, coarse, width, log))
    snapshots = [i for i in items if isinstance(i, Snapshot)]
    heads = [(asdict(s.member), s.number, s.time) for s in snapshots]
    measured = [asdict(i) for i in items if isinstance(i, Quality)]
    with atomic(stored) as scratch:
        np.savez(
            scratch,
            velocity=np.stack([s.velocity for s in snapshots]),
            stress=np.stack([s.stress for s in snapshots]),
            about=np.array(json.dumps([heads, measured])),
        )


def simulated(
    case: Case, log: Any, coarse: Grid = COARSE, width: float = FILTER_WIDTH
) -> tuple[list[Snapshot], list[Quality]]:
    """Run a case, or take it from the cache: an interrupted build goes on where it stopped."""
    keep(case, coarse, width, log)
    with np.load(_place(case, coarse, width), allow_pickle=False) as file:
        heads, measured = json.loads(str(file["about"]))
        flows = zip(file["velocity"], file["stress"], strict=True)
    return (
        [
            Snapshot(Member(**member), number, time, velocity, stress)
            for (member, number, time), (velocity, stress) in zip(heads, flows, strict=True)
        ],
        [Quality(**{**q, "member": Member(**q["member"])}) for q in measured],
    )


def build(
    cases: Sequence[Case],
    spec: DatasetSpec,
    folder: Path,
    *,
    fractions: tuple[float, float, float],
    coarse: Grid = COARSE,
    width: float = FILTER_WIDTH,
    workers: int = 1,
    cluster: str | None = None,
    log: Any = note,
) -> list[tuple[Case, Quality]]:
    """Simulate `cases` in parallel, write `folder/data` and `folder/quality.csv`.

    Rows of one trajectory follow one another. Each finished case is kept in the cache, so a build
    that was stopped goes on; the number of workers changes nothing in the files.

    Raises:
        RunError: some cases failed; each is named, the others are kept.
    """
    names = [
        f"Re {c.reynolds:.0f} {'+'.join(dict.fromkeys(m.kind for m in c.members))}" for c in cases
    ]
    label_all(
        partial(keep, coarse=coarse, width=width),
        cases,
        names,
        workers=workers,
        cluster=cluster,
        report=log,
    )
    quality: list[tuple[Case, Quality]] = []

    def rows() -> Iterator[dict[str, Any]]:
        for case in cases:
            snapshots, measured = simulated(case, log, coarse, width)
            quality.extend((case, q) for q in measured)
            yield from sorted(
                (_row(case, item, fractions, coarse) for item in snapshots),
                key=lambda row: row["id"],
            )

    info = spec.info(filter_width=width, box=2 * math.pi)
    write_dataset(folder, columns(coarse), rows(), info, max_rows_per_file=400)
    write_quality(folder / "quality.csv", quality)
    return quality


def write_quality(path: Path, quality: Sequence[tuple[Case, Quality]]) -> None:
    """One line per trajectory: how it was run and how well it was resolved (`Quality`)."""
    header = ("group", "reynolds", "points", "dt", "precision", *MEASURES)
    rows = []
    for case, q in quality:
        run_as = (trajectory_name(case, q.member), f"{case.reynolds:g}", case.points, case.dt)
        rows.append((*run_as, case.precision, *(f"{getattr(q, name):.3g}" for name in MEASURES)))
    quality_table.write_csv(path, header, rows)


def resolution(quality: Sequence[tuple[Case, Quality]]) -> str:
    """Markdown: one line per trajectory, with how well it was resolved."""
    header = "Re|grid, bits|dt|flow|rms u|kmax l_d|E(kmax) / max E|budget|divergence|residual|CFL"
    rows = [
        (
            f"{case.reynolds:.0f}",
            f"{case.points}^2, {case.precision[5:]}",
            f"{case.dt:g}",
            f"{q.member.kind} {q.member.seed}",
            *quality_table.measured(q, "kmax_dissipation_length"),
        )
        for case, q in quality
    ]
    return quality_table.markdown(header.split("|"), rows)


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
    """Command line of a `build.py` of filtered two-dimensional flows; the exit code.

    `--set grid=64` is the number of points of the filtered flow; its filter stays three of its
    spacings wide. What changes the data needs `--out`.
    """
    options = build_options.read(
        text,
        here,
        argv,
        seed=seed,
        seed_help="of phases",
        settings=f"cluster=ADDRESS of a Dask scheduler; {', '.join(SETTINGS)}",
    )
    settings = options.settings
    if settings:
        ensembles = changed(ensembles, settings)
    other = bool(settings) or options.size is not None or options.seed != seed
    options.check_elsewhere(here, other)
    points = _points(settings.get("grid", 32))
    coarse = Grid(points, points)
    quality = build(
        planned(ensembles, options.seed, options.size),
        spec,
        options.out,
        fractions=fractions,
        coarse=coarse,
        width=3 * coarse.isotropic_spacing,
        **options.parallel,
    )
    quality_table.write_to_card(options.out, resolution(quality))
    return 0


def _points(value: Any) -> int:
    if not isinstance(value, int) or value < 8:
        raise InputError(f"--set grid={value}: give a whole number of points, at least 8")
    return value
