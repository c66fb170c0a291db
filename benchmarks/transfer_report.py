"""Tables of the transfer benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from report import table

TEXT, NUMBERS = "RESULTS_TRANSFER.md", "results_transfer.json"
PROTOCOL = (
    "`{model}`, {labels} training labels (40 for atomisation), at most {tested} test systems that "
    "share no scaffold (molecules) or set of elements (crystals) with them, {seeds} seeds; mean "
    "absolute errors, mean over seeds. `auto` chooses by leave-one-out errors on the training "
    "labels alone. The best rival knows nothing of the model: mean, composition, or a Gaussian "
    "process on descriptors (RDKit's, or elemental statistics with the cell's); it is the best of "
    "them on the test systems, which nobody could choose beforehand. `scratch`: the same trunk, "
    "new, {steps} steps of {tokens} tokens. Structures may have occurred in pretraining, these "
    "labels have not."
)


def summary(results: dict[str, Any]) -> list[dict[str, Any]]:
    """One line per row: means over the seeds."""
    lines = []
    for name in dict.fromkeys(r["row"] for r in results["rows"]):
        own = [r for r in results["rows"] if r["row"] == name]
        known = set.intersection(*(set(r["mae"]) for r in own))
        mae = {k: float(np.mean([r["mae"][k] for r in own])) for k in known}
        rival = min((k for k in own[0]["rivals"]), key=lambda k: mae[k])
        lines.append(
            {
                "row": name,
                "unit": own[0]["unit"],
                "mae": mae,
                "spread": float(np.std([r["mae"]["auto"] for r in own])),
                "rival": rival,
                "modes": sorted({r["auto"] for r in own}),
                "coverage": float(np.mean([r["coverage"]["auto"] for r in own])),
                "cpu_seconds": float(np.mean([r["cpu_seconds"] for r in own])),
            }
        )
    return lines


def tables(results: dict[str, Any]) -> str:
    """The report as markdown."""
    rows = []
    for line in summary(results):
        mae = line["mae"]
        beside = {
            k: f"{mae[k]:.3g} ({100 * (mae['auto'] / mae[k] - 1):+.0f} %)" if k in mae else ""
            for k in (line["rival"], "scratch", "random weights")
        }
        rows.append(
            (
                line["row"] + ("" if line["unit"] == "1" else f" [{line['unit']}]"),
                f"**{mae['auto']:.3g}** +- {line['spread']:.2g}",
                ", ".join(line["modes"]),
                f"{line['rival']} {beside[line['rival']]}",
                beside["scratch"],
                beside["random weights"],
                "" if "zero-shot" not in mae else f"{mae['zero-shot']:.3g}",
                f"{mae['ridge']:.3g} / {mae['gp']:.3g}",
                f"{100 * line['coverage']:.0f} %",
                f"{line['cpu_seconds']:.0f} s",
            )
        )
    head = (
        "target",
        "auto",
        "what it chose",
        "best rival (auto beside it)",
        "scratch (auto beside it)",
        "random weights",
        "zero-shot",
        "ridge / gp",
        "90 % intervals hold",
        "CPU, features and fits",
    )
    text = PROTOCOL.format(**results["protocol"])
    when = f"{results['date']}; {results['machine']['processor']}."
    return "\n\n".join(["# Learning from few labels", when, text, table(head, rows)]) + "\n"


def write(folder: Path, results: dict[str, Any]) -> None:
    """The report and its numbers."""
    (folder / TEXT).write_text(tables(results), encoding="utf-8")
    (folder / NUMBERS).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
