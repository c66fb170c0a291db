"""Tables of the DFT benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from report import between, figures, opening, ratios, table

OURS, PEER = "sfm", "pyscf"
TEXT, NUMBERS = "RESULTS_DFT.md", "results_dft.json"
LABELS = {"energy": "energy", "forces": "energy and forces", "hessian": "energy and Hessian"}
PROTOCOL = (
    "{basis} unless named, density fitting (def2-universal-jfit, with exact exchange "
    "def2-universal-jkfit), PySCF's grid of level {grid_level}, self-consistent to {tolerance:g} "
    "hartree, float64, {threads} thread. Each call does everything from the geometry on: "
    "integrals, grid, orbitals on it, self-consistency and, for forces, the gradient with grid "
    "points and weights that move; PySCF's Hessian holds them still. `sfm` solves the 32 molecules "
    "in one call, PySCF one after another. Two processes take "
    "turns, {rounds} times; a ratio is PySCF / ours of CPU time within a turn, so more than 1 "
    "means that ours is faster; given as min - **median** - max. Load of the machine before and "
    "after: {load_before} and {load_after}."
)


def tables(results: dict[str, Any]) -> str:
    """The report as markdown."""
    lines = opening("Kohn-Sham theory beside PySCF", results, PROTOCOL)
    timings: dict[tuple[str, str], dict[str, Any]] = {}
    for row in results["timings"]:
        timings.setdefault((row["case"], row["task"]), {})[row["engine"]] = row
    agreement = {(row["case"], row["task"]): row for row in results["agreement"]}
    rows = []
    for (case, task), both in timings.items():
        if len(both) < 2:
            continue
        same = agreement[case, task]
        rows.append(
            [
                case,
                LABELS[task],
                between(ratios(both[PEER]["cpu"], both[OURS]["cpu"])),
                figures(median(both[OURS]["cpu"])),
                figures(median(both[PEER]["cpu"])),
                f"{same['energy']:.0e}",
                next((f"{same[t]:.0e}" for t in ("forces", "hessian") if t in same), ""),
            ]
        )
    head = ["", "task", "PySCF / ours", "ours, CPU s", "PySCF, CPU s"]
    head += ["largest difference of energies, hartree", "of forces, hartree/bohr, or Hessians"]
    if rows:
        lines.append(table(head, rows))
    for row in results["calls"]:
        spent = row["cpu"]
        lines.append(
            f"Ten calls in a row ({row['case']}, {LABELS[row['task']]}), CPU seconds each: "
            + ", ".join(f"{s:.2f}" for s in spent)
            + "."
        )
    if results["memory"]:
        lines.append(
            table(
                ["memory of one call", "", "peak, MiB", "rise, MiB"],
                [
                    [
                        f"{m['case']}, {LABELS[m['task']]}",
                        m["engine"],
                        figures(m["peak"]),
                        figures(m["rise"]),
                    ]
                    for m in results["memory"]
                ],
            )
        )
    for name, reason in results["failed"].items():
        lines.append(f"Left out: {name}: {reason}.")
    return "\n\n".join(lines) + "\n"


def write(folder: Path, results: dict[str, Any]) -> None:
    """RESULTS_DFT.md and results_dft.json."""
    (folder / TEXT).write_text(tables(results))
    (folder / NUMBERS).write_text(json.dumps(results, indent=1) + "\n")
