"""What `sfm finetune` prints of its report: gained, forgotten, where the model is most wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sfm.cli.output import emit, note, table


def show_finetuning(report: Mapping[str, Any]) -> None:
    """Errors before and after, what competed, losses elsewhere, the worst systems by name."""
    _gained(report["target"])
    _competed(report.get("candidates") or ())
    _forgotten(report.get("forgetting") or {})
    _worst(report.get("metrics") or ())
    if report.get("note"):
        note(report["note"])


def _gained(rows: Iterable[Mapping[str, Any]]) -> None:
    """Mean absolute errors of the test systems, all components alike, in the quantity's unit."""
    emit("\nmean absolute errors on the test systems")
    rows = list(rows)
    scratch = any("scratch_mae" in row for row in rows)
    head = ["quantity", "level", "n", "without a model", "before", "after"]
    head += ["from scratch", "unit"] if scratch else ["unit"]
    table([_row(row, scratch) for row in rows], head)


def _row(row: Mapping[str, Any], scratch: bool) -> list[Any]:
    names = ["baseline_mae", "before_mae", "after_mae", *(["scratch_mae"] if scratch else [])]
    cells = [row["quantity"], row["level"], row["n"]]
    cells += ["" if row.get(name) is None else f"{row[name]:.4g}" for name in names]
    return [*cells, row["unit"]]


def _competed(rows: Iterable[Mapping[str, Any]]) -> None:
    """The modes that were tried, best first, and the rivals that know nothing of the model."""
    rows = sorted(rows, key=lambda r: (r["target"], r["mae"]))
    if not rows:
        return
    several = len({r["target"] for r in rows}) > 1
    emit("\nwhat competed")
    table(
        [
            (
                *((r["target"],) if several else ()),
                r["name"] + (" (chosen)" if r["chosen"] else ""),
                f"{r['mae']:.4g}",
                r["unit"],
                r["how"] + (", knows nothing of the model" if r["rival"] else ""),
            )
            for r in rows
        ],
        (*(("target",) if several else ()), "mode", "MAE", "unit", "measured by"),
    )


def _forgotten(forgetting: Mapping[str, Any]) -> None:
    """Losses on the pretraining tasks; above 1 in the last column something was lost."""
    before, after = forgetting.get("before") or {}, forgetting.get("after") or {}
    names = [n for n in before if before[n] is not None and after.get(n) is not None]
    if not names:
        if forgetting.get("note"):
            emit(f"\npretraining tasks: {forgetting['note']}")
        return
    emit("\nlosses on the pretraining tasks")
    table(
        [
            (
                name,
                f"{before[name]:.4g}",
                f"{after[name]:.4g}",
                f"{after[name] / before[name]:.3f}" if before[name] else "",
            )
            for name in names
        ],
        ("task", "before", "after", "after / before"),
    )


def _worst(metrics: Iterable[Mapping[str, Any]]) -> None:
    lines = [
        (m["quantity"], m["level"], name, f"{error:.4g}", _unit(m))
        for m in metrics
        for name, error in m.get("worst") or ()
    ]
    if lines:
        emit("\nwhere the model is most wrong")
        table(lines, ("quantity", "level", "system", "MAE", "unit"))


def _unit(metric: Mapping[str, Any]) -> str:
    per_token = metric.get("mae_per_token") is not None
    return f"{metric['unit']}/{metric['token']}" if per_token else metric["unit"]
