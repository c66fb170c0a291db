"""Tables of the dynamics benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from report import between, figures, opening, ratios, table

TEXT, NUMBERS = "RESULTS_MD.md", "results_md.json"
PROTOCOL = (
    "A Lennard-Jones fluid of density {density} melted from a lattice, pairs cut at {cutoff} "
    "sigma, skin {skin} sigma, time step {dt}, constant energy, float64 unless named, one thread. "
    "All engines start from the same atoms and velocities, run 200 steps, then take turns, "
    "{rounds} times. Steps per second of CPU time are medians; the ratio is to sfm's within a "
    "turn, min - **median** - max: more than 1 is faster than sfm. Load of the machine before and "
    "after: {load_before} and {load_after}."
)


def tables(results: dict[str, Any]) -> str:
    """The report as markdown."""
    title = "Molecular dynamics beside LAMMPS, jax-md, torch-sim and ASE"
    lines = opening(title, results, PROTOCOL)
    if results["timings"]:
        lines.append(_fluids(results))
    if results["gradient"]:
        lines += [
            "The gradient of a function of the velocities after 100 steps, by epsilon, sigma and "
            "all starting positions; memory is what the process rises by.",
            _gradients(results["gradient"]),
        ]
    for row in results["relax"]:
        lines.append(
            f"{row['count']} strained, rattled argon crystals of four atoms, atoms and cell "
            "relaxed to 1e-4 eV/angstrom: "
            f"{figures(median(row['batch']))} CPU s in one batch by `crystals/lattice`, "
            f"{figures(median(row['loop']))} by ASE's BFGS one after another (of the first "
            f"{row['shown']}, scaled); ratio {between(ratios(row['loop'], row['batch']))}; volumes "
            f"agree to {row['volumes']:.0e}."
        )
    if results.get("models"):
        lines += [
            "Learned potentials through torch-sim at constant energy, float32, each model's own "
            "adapter and neighbour list: 64 atoms of silicon, and 32 ethanol molecules in one "
            "batch. MACE (128x0e) has random weights, SevenNet-0 also makes stress, which its "
            "adapter cannot leave out; accuracies are not compared.",
            _models(results["models"]),
        ]
    for name, reason in results["failed"].items():
        lines.append(f"Left out: {name}: {reason}.")
    return "\n\n".join(lines) + "\n"


def _fluids(results: dict[str, Any]) -> str:
    ours = {row["size"]: row for row in results["timings"] if row["engine"] == "sfm"}
    rows = []
    for row in results["timings"]:
        beside = ours.get(row["size"])
        apart = results["agreement"].get(row["engine"])
        rows.append(
            [
                row["size"],
                row["engine"],
                figures(1 / median(row["cpu"])),
                "" if beside is None else between(ratios(beside["cpu"], row["cpu"])),
                "" if apart is None else f"{apart:.0e}",
            ]
        )
    head = ["atoms", "engine", "steps per CPU s", "speed / sfm", "forces differ from sfm's by"]
    return table(head, rows)


def _gradients(given: list[dict[str, Any]]) -> str:
    rows = [
        [
            row["size"],
            row["engine"],
            figures(median(row["forward"])),
            figures(median(row["gradient"])),
            between(ratios(row["gradient"], row["forward"])),
            figures(max(row["rise"])),
        ]
        for row in given
    ]
    head = ["atoms", "engine", "100 steps, CPU s", "with gradient, CPU s", "ratio", "memory, MiB"]
    return table(head, rows)


def _models(given: list[dict[str, Any]]) -> str:
    ours = {row["size"]: row for row in given if row["engine"] == "model sfm-tiny"}
    rows = []
    for row in given:
        beside = ours.get(row["size"])
        rows.append(
            [
                row["size"],
                row["engine"].removeprefix("model "),
                figures(1 / median(row["cpu"])),
                "" if beside is None else between(ratios(beside["cpu"], row["cpu"])),
            ]
        )
    return table(["batch", "model", "steps per CPU s", "speed / sfm-tiny"], rows)


def write(folder: Path, results: dict[str, Any]) -> None:
    """RESULTS_MD.md and results_md.json."""
    (folder / TEXT).write_text(tables(results))
    (folder / NUMBERS).write_text(json.dumps(results, indent=1) + "\n")
