"""Published and exact numbers beside ours, with seeds, CPU seconds and the classical solver's cost.

    python recipes/known_numbers.py [NAME ...] [--seeds 3] [--out F]
    python recipes/known_numbers.py --page            # benchmarks/NUMBERS.md from what is stored

Names are those of `known_problems.KNOWN`, and the systems of `learned_mechanics.py`. With --out, a
file of JSON, rows are stored as they come and those that are there are not measured again, but for
what is `recorded`, taken from an earlier page to the digits that it gave. The stored rows are
`benchmarks/results_numbers.json`. CPU seconds are the process's, of one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import six_systems
from known_problems import KNOWN, Problem
from learned_mechanics import measured as mechanics
from learned_mechanics import systems

from sfm.errors import InputError, all_known, one_line_errors

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
STORED, PAGE = BENCHMARKS / "results_numbers.json", BENCHMARKS / "NUMBERS.md"
Row = dict[str, Any]

# mean square errors of the energy to T = 20, plain and Hamiltonian
PUBLISHED = {"mass-spring": (1.7e-1, 3.8e-4), "two-body": (6.3e-2, 3.9e-5)}
SOURCE = "S. Greydanus, M. Dzamba, J. Yosinski (2019), arXiv:1906.01563"


def measured(name: str, seed: int) -> Row:
    """One row: a problem and a seed."""
    if name not in KNOWN:
        return {"problem": name, **mechanics(name, seed)}
    problem = KNOWN[name]
    begun = time.process_time()
    values = [float(v) for v in problem.ours(seed)]
    row: Row = {"problem": name, "seed": seed, "values": values}
    row["cpu_s"] = time.process_time() - begun
    if problem.classical is not None:
        begun = time.process_time()
        row["classical"] = [float(v) for v in problem.classical()]
        row["classical_cpu_s"] = time.process_time() - begun
    return row


def error(values: Sequence[float], reference: Sequence[float]) -> float:
    """Largest relative deviation, of as many numbers as the reference has."""
    return max(abs(v / r - 1) for v, r in zip(values, reference, strict=True))


def _numbers(values: Iterable[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}g}" for value in values)


def _line(problem: Problem, rows: Sequence[Row]) -> list[str]:
    """Cells of one problem."""
    digits = 5 if problem.tolerance > 1e-3 else 6 if problem.tolerance > 1e-6 else 9
    off = max(error(row["values"], problem.reference) for row in rows)
    ours = "; ".join(_numbers(row["values"], digits) for row in rows)
    instead, cost = problem.instead, "-"
    if problem.classical is not None:
        instead += f": {_numbers(rows[0]['classical'], digits)}"
        cost = f"{sum(row['classical_cpu_s'] for row in rows) / len(rows):.2g}"
    seeds = str(len(rows)) if problem.seeded else "none"
    spent = sum(row["cpu_s"] for row in rows) / len(rows)
    return [
        problem.title,
        f"{_numbers(problem.reference, digits)} ({problem.source})",
        f"{ours} by {problem.method}" + (" *" if any("recorded" in row for row in rows) else ""),
        seeds,
        f"{off:.2g}",
        f"{problem.tolerance:g}",
        f"{spent:.2g}",
        instead or "-",
        cost,
    ]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [list(head), ["---"] * len(head), *map(list, lines)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def known_table(rows: Sequence[Row]) -> str:
    """Problems with an answer."""
    head = ["problem", "published or exact", "ours, seed by seed", "seeds", "largest error"]
    head += ["allowed", "CPU s", "what one would use instead", "its CPU s"]
    of = {name: [row for row in rows if row["problem"] == name] for name in KNOWN}
    return _table(head, (_line(KNOWN[name], some) for name, some in of.items() if some))


def mechanics_table(rows: Sequence[Row]) -> str:
    """Energy errors of plain networks and of those that know mechanics."""
    head = ["system", "T", "published: plain, knowing", "plain", "knowing", "ratio", "seeds"]
    head += ["CPU s: plain, knowing, the true equation"]
    lines = []
    for name in systems():
        of = [row for row in rows if row["problem"] == name]
        kinds = ("plain", "knowing", "classical")
        for i, until in enumerate(of[0]["times"] if of else ()):
            plain, knowing = (
                _numbers((row[kind]["energy_errors"][i] for row in of), 2) for kind in kinds[:2]
            )
            said = _numbers(PUBLISHED[name], 2) if i == 0 and name in PUBLISHED else "-"
            spent = [
                sum(row[kind]["cpu_s"] for row in of) / len(of)
                for kind in kinds
                if not any("recorded" in row for row in of)
            ]
            ratios = _numbers((row["ratios"][i] for row in of), 2)
            star = " *" if any("recorded" in row for row in of) else ""
            cells = [name + star, str(until), said, plain, knowing, ratios, str(len(of))]
            lines.append([*cells, _numbers(spent, 2) or "-"])
    return _table(head, lines)


def drifts(rows: Sequence[Row]) -> str:
    """A sentence on the drift of the double pendulum's energy."""
    of = [row for row in rows if row["problem"] == "double-pendulum"]
    if not of:
        return ""
    shares = _numbers((100 / row["drift_ratio"] for row in of), 2)
    return f"Drift of the double pendulum's energy, in percent of the plain network's: {shares}."


def stars(rows: Sequence[Row]) -> str:
    """What a star means, where there is one."""
    if not any("recorded" in row for row in rows):
        return ""
    return """A star marks what was recorded by an earlier run, to the digits that were written
down; the recipe measures it again.
"""


def page(rows: Sequence[Row], six: Sequence[Row]) -> str:
    """`benchmarks/NUMBERS.md`."""
    return f"""# Numbers that are published or exact, and ours
Made by `python recipes/known_numbers.py --page` from `results_numbers.json`
(`recipes/known_numbers.py`) and `results_six_systems.json` (`recipes/six_systems.py`); a test holds
the page to them. CPU seconds of one thread of a busy two-core machine: they say how columns
compare. What it means: [learned solvers beside classical ones](../docs/theory/dynamics/learned.md),
[finite elements](../docs/theory/fluids/finite-elements.md).
{stars(rows)}
## Answers that are known
Largest relative error over seeds and numbers; a test holds each problem to what is allowed.

{known_table(rows)}

## Energies that are kept
Mean square error of the true energy from the start to T over ten unseen runs, seed by seed:
networks of the rates (plain), of the energy or of mass matrix and potential (knowing). Published:
{SOURCE}, T = 20.

{mechanics_table(rows)}

{drifts(rows)}

## Six mechanical systems
Relative errors of coordinates / energy over ten unseen runs, medians over seeds. The systems are
those of A. Shinde et al. (2026), arXiv:2602.18060, whose numbers could not be read: settings are
ours. `classical` is the equation itself.
{six_systems.table(six)}

## Elsewhere
[Operator learners](RESULTS_OPERATORS.md) beside the trunk, with the classical solver alone;
[closures and corrections of flows](FLUIDS_CORRECTIONS.md) at equal run time;
[speed beside Exponax](small/RESULTS_FLUIDS.md).
"""


def stored(path: Path) -> list[Row]:
    """Rows of a file of JSON; none if there is no file."""
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return rows


def _store(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


@one_line_errors
def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = (*KNOWN, *systems())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file of JSON; what is there is kept")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name} and stop")
    arguments = parser.parse_args()
    if arguments.page:
        PAGE.write_text(page(stored(STORED), stored(BENCHMARKS / "results_six_systems.json")))
        return 0
    if arguments.seeds < 1:
        raise InputError("give at least 1 seed")
    rows = stored(arguments.out) if arguments.out else []
    done = {(row["problem"], row["seed"]) for row in rows if "recorded" not in row}
    for seed in range(arguments.seeds):
        for name in all_known(arguments.names, names, "problem"):
            once = name in KNOWN and not KNOWN[name].seeded
            if (name, seed) in done or (seed and once):
                continue
            rows = [row for row in rows if (row["problem"], row["seed"]) != (name, seed)]
            rows.append(measured(name, seed))
            print(json.dumps(rows[-1]), flush=True)
            if arguments.out:
                _store(arguments.out, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
