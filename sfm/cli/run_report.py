"""What `sfm simulate` says of a run: records of time, or the answer of a search and its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfm.cli.output import emit, note, table
from sfm.cli.results import as_array, quantity, row, text_of

SMALL = 9  # numbers of one iteration; a history of more than these is for files
HISTORY = "history/"  # before the names of a search's records in files


def run_report(
    name: str, simulator: Any, trajectory: Any, output: Path | None, told: Sequence[str] = ()
) -> dict[str, Any]:
    """The object of `--json`.

    Of a run in time, `quantities` are records, the first axis being `time`. Of a search for one
    answer (`Simulator.converged`), they are the answer; `converged` says whether it was reached,
    and `history` has the small quantities of each iteration. `told`: warnings from before the run.
    """
    warnings = [*told, *trajectory.warnings]
    if trajectory.converged is None:
        values = {"time": trajectory.times, **trajectory.observables}
        units = {**trajectory.units, "time": trajectory.time_unit}
        quantities = {
            key: quantity(key, value, units[key], path=output, warnings=warnings, series=True)
            for key, value in values.items()
        }
        return {"part": name, "quantities": quantities, "warnings": warnings}
    quantities = {
        key: quantity(key, value, trajectory.units[key], path=output, warnings=warnings)
        for key, value in simulator.result(trajectory).items()
    }
    return {
        "part": name,
        "converged": trajectory.converged,
        "quantities": quantities,
        "history": _history(trajectory),
        "warnings": warnings,
    }


def _history(trajectory: Any) -> dict[str, Any]:
    """Iteration numbers and the small quantities at each; not what only the last iteration has."""
    history = {"iteration": _entry(as_array(trajectory.times), trajectory.time_unit)}
    for name, values in trajectory.observables.items():
        array = as_array(values)
        known = len(array) == 1 or np.isfinite(array[:-1].astype(float)).any()
        if known and array[0].size <= SMALL:
            history[name] = _entry(array, trajectory.units[name])
    return history


def _entry(array: np.ndarray, unit: str) -> dict[str, Any]:
    return {"value": array.tolist(), "unit": unit, "shape": list(array.shape)}


def arrays(simulator: Any, trajectory: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays by name and their units, for a file: of a search, answers and `history/` records."""
    if trajectory.converged is None:
        units = {**trajectory.units, "time": trajectory.time_unit}
        return {"time": trajectory.times, **trajectory.observables}, units
    records = {"iteration": trajectory.times, **trajectory.observables}
    units = {**trajectory.units, "iteration": trajectory.time_unit}
    values = {HISTORY + name: value for name, value in records.items()}
    named = {HISTORY + name: unit for name, unit in units.items()}
    return {**simulator.result(trajectory), **values}, {**units, **named}


def print_report(report: Mapping[str, Any], *, history: bool = False) -> None:
    """The table of a run; with `history`, a second one of a search's iterations."""
    search = "history" in report
    if search:
        _say_end(report)
    text = _answer if search else _ends
    table(
        [
            (key, text(entry), entry["unit"], "x".join(map(str, entry["shape"])))
            for key, entry in report["quantities"].items()
        ],
        ("quantity", "value" if search else "first -> last", "unit", "shape"),
    )
    if search and history:
        single = {
            name: np.ravel(entry["value"])
            for name, entry in report["history"].items()
            if np.size(entry["value"]) == len(entry["value"])
        }
        emit()
        table(
            [[f"{x:.9g}" for x in line] for line in zip(*single.values(), strict=True)], [*single]
        )


def _say_end(report: Mapping[str, Any]) -> None:
    last = report["history"]["iteration"]["value"][-1]
    count = f" after {last:g} iterations" if last else ""
    note(("converged" if report["converged"] else "not converged") + count)


def unprinted(report: Mapping[str, Any]) -> list[str]:
    """One line on all arrays that are neither printed in full nor in a file."""
    names = [
        key
        for key, entry in report["quantities"].items()
        if entry["value"] is None and "path" not in entry
    ]
    if not names:
        return []
    return [f"too many numbers to print in full: {', '.join(names)}; give --output FILE.npz"]


def _answer(entry: Mapping[str, Any]) -> str:
    value = entry["value"]  # nine digits: a total energy needs them
    return f"{value:.9g}" if isinstance(value, float) else text_of(entry)


def _ends(entry: Mapping[str, Any]) -> str:
    value = entry["value"]
    if not isinstance(value, list) or not value:
        return text_of(entry)
    records = np.asarray(value).reshape(len(value), -1)
    if records.shape[1] == 1:
        return f"{records[0, 0]:.6g} -> {records[-1, 0]:.6g}"
    return row(records[-1], " (last)") or text_of(entry)
