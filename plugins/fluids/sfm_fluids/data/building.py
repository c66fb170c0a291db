"""From ensembles of simulated flows to a bundled dataset: rows, files and the card's table."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sfm.data.spec import DatasetSpec
from sfm.data.splits import assign
from sfm.data.storage import GROUP, ID, SPLIT, Column, cache_dir, cell_column, write_dataset

from ..periodic.grid import Grid
from .dns import Case, Member, Quality, Snapshot, run

COARSE = Grid(32, 32)
FILTER_WIDTH = 3 * COARSE.isotropic_spacing
VELOCITY_BITS, STRESS_BITS = 14, 9

COLUMNS = (
    ID,
    SPLIT,
    GROUP,
    cell_column("1"),
    Column("pbc", shape=(3,), dtype="bool"),
    Column("velocity", role="field", shape=(2, *COARSE.shape)),
    Column("reynolds", role="condition"),
    Column("viscosity", role="condition"),
    Column("drag", role="condition"),
    Column("time", role="condition"),
    Column("sgs_stress", role="label", level="DNS", shape=(-1, 2, 2)),
)


def round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 rounded to `bits` mantissa bits (relative error below 2^-(bits+1)): packs smaller."""
    drop = 23 - bits
    raw = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1) + ((raw >> np.uint32(drop)) & np.uint32(1))
    return ((raw + half) & np.uint32(0xFFFFFFFF ^ ((1 << drop) - 1))).view(np.float32)


def _row(case: Case, snapshot: Snapshot, fractions: tuple[float, float, float]) -> dict[str, Any]:
    member = snapshot.member
    group = f"re{case.reynolds:.0f}-{member.kind}-{member.seed}"
    stress = np.moveaxis(snapshot.stress, (0, 1), (2, 3)).reshape(-1, 2, 2)
    values = {
        "id": f"{group}-{snapshot.number:03d}",
        "split": assign(group, fractions),
        "group": group,
        "cell": np.diag([COARSE.length_x, COARSE.length_y, 1.0]),
        "pbc": np.array([True, True, False]),
        "velocity": round_mantissa(snapshot.velocity, VELOCITY_BITS),
        "reynolds": case.reynolds,
        "viscosity": case.viscosity,
        "drag": member.drag,
        "time": snapshot.time,
        "sgs_stress": round_mantissa(stress, STRESS_BITS),
    }
    return {column.name: values[column.quantity] for column in COLUMNS}


def simulated(case: Case, log: Any) -> tuple[list[Snapshot], list[Quality]]:
    """Run a case, or take it from the cache: an interrupted build goes on where it stopped."""
    key = hashlib.sha256(f"2|{case!r}|{COARSE!r}|{FILTER_WIDTH!r}".encode()).hexdigest()[:24]
    stored = cache_dir() / "turbulence" / f"{key}.npz"
    if not stored.is_file():
        items = list(run(case, COARSE, FILTER_WIDTH, log))
        snapshots = [i for i in items if isinstance(i, Snapshot)]
        heads = [(asdict(s.member), s.number, s.time) for s in snapshots]
        measured = [asdict(i) for i in items if isinstance(i, Quality)]
        stored.parent.mkdir(parents=True, exist_ok=True)
        scratch = stored.with_suffix(".part.npz")
        np.savez(
            scratch,
            velocity=np.stack([s.velocity for s in snapshots]),
            stress=np.stack([s.stress for s in snapshots]),
            about=np.array(json.dumps([heads, measured])),
        )
        os.replace(scratch, stored)
    with np.load(stored, allow_pickle=False) as file:
        heads, measured = json.loads(str(file["about"]))
        fields = zip(file["velocity"], file["stress"], strict=True)
    return (
        [
            Snapshot(Member(**member), number, time, velocity, stress)
            for (member, number, time), (velocity, stress) in zip(heads, fields, strict=True)
        ],
        [Quality(**{**q, "member": Member(**q["member"])}) for q in measured],
    )


def build(
    cases: Sequence[Case],
    spec: DatasetSpec,
    folder: Path,
    *,
    fractions: tuple[float, float, float],
    log: Any = print,
) -> list[tuple[Case, Quality]]:
    """Simulate `cases` and write `folder/data`; rows of one trajectory follow one another."""
    quality: list[tuple[Case, Quality]] = []

    def rows() -> Iterator[dict[str, Any]]:
        for case in cases:
            snapshots, measured = simulated(case, log)
            quality.extend((case, q) for q in measured)
            yield from sorted(
                (_row(case, item, fractions) for item in snapshots), key=lambda row: row["id"]
            )

    info = {
        "name": spec.name,
        "domain": spec.domain,
        "licence": spec.licence,
        "origin": spec.origin,
        "citation": list(spec.citation),
        "filter_width": FILTER_WIDTH,
        "box": 2 * math.pi,
    }
    write_dataset(folder, COLUMNS, rows(), info, max_rows_per_file=400)
    return quality


def quality_table(quality: Sequence[tuple[Case, Quality]]) -> str:
    """Markdown: one line per trajectory, with how well it was resolved."""
    lines = [
        "| Re | grid, bits | dt | flow | rms u | kmax l_d | E(kmax) / max E "
        "| budget | divergence | CFL |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, q in quality:
        lines.append(
            f"| {case.reynolds:.0f} | {case.points}^2, {case.precision[5:]} | {case.dt:g} "
            f"| {q.member.kind} {q.member.seed} | {q.rms_velocity:.2f} "
            f"| {q.kmax_dissipation_length:.2f} | {q.spectrum_tail:.1e} "
            f"| {q.budget_residual:.1e} | {q.max_divergence:.0e} | {q.courant:.2f} |"
        )
    return "\n".join(lines)


def write_table(card: Path, table: str) -> None:
    """Put the table between the card's `<!-- resolution -->` marks."""
    start, end = "<!-- resolution -->", "<!-- /resolution -->"
    text = card.read_text()
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    card.write_text(f"{head}{start}\n{table}\n{end}{tail}")
