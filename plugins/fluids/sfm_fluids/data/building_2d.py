"""From ensembles of simulated flows to a bundled dataset: rows, files, quality and the card."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.atomic import atomic, write_text
from sfm.data.labelling import label_all, note
from sfm.data.spec import DatasetSpec
from sfm.data.splits import assign
from sfm.data.storage import GROUP, ID, SPLIT, Column, cache_dir, cell_column, write_dataset
from sfm_fluids.data.dns_2d import Case, Snapshot, run
from sfm_fluids.data.quality import Quality
from sfm_fluids.data.rounding import round_mantissa
from sfm_fluids.flows.bundled import COARSE, FILTER_WIDTH
from sfm_fluids.flows.members import Member
from sfm_fluids.spectral.grid_2d import Grid

VELOCITY_BITS, STRESS_BITS = 14, 9


def columns(coarse: Grid) -> tuple[Column, ...]:
    """The columns of a dataset of filtered flows."""
    return (
        ID,
        SPLIT,
        GROUP,
        cell_column("1"),
        Column("pbc", shape=(3,), dtype="bool"),
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
    key = hashlib.sha256(f"2|{case!r}|{coarse!r}|{width!r}".encode()).hexdigest()[:24]
    return cache_dir() / "turbulence" / f"{key}.npz"


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


MEASURES = tuple(f.name for f in fields(Quality) if f.name != "member")


def write_quality(path: Path, quality: Sequence[tuple[Case, Quality]]) -> None:
    """One line per trajectory: how it was run and how well it was resolved (`Quality`)."""
    with atomic(path) as scratch, scratch.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("group", "reynolds", "points", "dt", "precision", *MEASURES))
        for case, q in quality:
            head = (trajectory_name(case, q.member), f"{case.reynolds:g}", case.points, case.dt)
            values = (f"{getattr(q, name):.3g}" for name in MEASURES)
            table.writerow((*head, case.precision, *values))


def quality_table(quality: Sequence[tuple[Case, Quality]]) -> str:
    """Markdown: one line per trajectory, with how well it was resolved."""
    lines = [
        "| Re | grid, bits | dt | flow | rms u | kmax l_d | E(kmax) / max E "
        "| budget | divergence | residual | CFL |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, q in quality:
        lines.append(
            f"| {case.reynolds:.0f} | {case.points}^2, {case.precision[5:]} | {case.dt:g} "
            f"| {q.member.kind} {q.member.seed} | {q.rms_velocity:.2f} "
            f"| {q.kmax_dissipation_length:.2f} | {q.spectrum_tail:.1e} "
            f"| {q.budget_residual:.1e} | {q.max_divergence:.0e} "
            f"| {q.equation_residual:.1e} | {q.courant:.2f} |"
        )
    return "\n".join(lines)


def write_table(card: Path, table: str) -> None:
    """Put the table between the card's `<!-- resolution -->` marks."""
    start, end = "<!-- resolution -->", "<!-- /resolution -->"
    text = card.read_text()
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    write_text(card, f"{head}{start}\n{table}\n{end}{tail}")
