"""What no closure can beat, and a learned correction of finite volumes beside finer grids.

python benchmarks/fluids_corrections.py [PART ...] [--seeds N] [--out FILE.json]

Parts: `steps` (the time steps of finite volumes, chosen on flows of validation), `bound` (how long
a flow can be followed from what a coarse grid knows of it, and how exact a stress has to be) and
`volumes` (`LearnedScheme` in `fluids/finite-volume-2d`, trained here for each seed and cached,
beside the plain solver on finer grids at equal run time). Default: all. Kolmogorov flows at Re 1000
that no training has seen, two starts each, three flows for the bound and six for the volumes; one
thread, float32.

Writes benchmarks/FLUIDS_CORRECTIONS.json after every row, and .md from it. What the report says
about its numbers is written by hand: "notes" in the JSON file, which is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decorrelation_row import decorrelation_row
from machine import describe, load
from sfm_fluids.data.dns_2d import Case
from sfm_fluids.evaluation.decorrelation import Protocol, Run, at_equal_cost, spectral_run
from sfm_fluids.evaluation.finite_volume import finite_volume_run
from sfm_fluids.evaluation.knowable import exact_stress_run, start_run
from sfm_fluids.evaluation.reference import reference
from sfm_fluids.flows.members import Member
from sfm_fluids.learned.scheme import LearnedScheme
from sfm_fluids.learned.scheme_training import Flows, Runs, Stage, fit_scheme
from sfm_fluids.learned.training import load as load_module
from sfm_fluids.learned.training import save
from sfm_fluids.spectral.grid_2d import Grid

from sfm.data.storage import cache_dir

HERE = Path(__file__).resolve().parent
UNSEEN = Case(
    1e-3, 256, 0.003125, 10.0, 0.25, 41,
    tuple(Member("kolmogorov", seed) for seed in (5001, 5002, 5005)), "float32",
)  # fmt: skip
MORE = replace(UNSEEN, members=tuple(Member("kolmogorov", seed) for seed in (5003, 5004, 5006)))
TRAINING = Case(
    1e-3, 128, 0.0125, 10.0, 0.25, 81,
    tuple(Member("kolmogorov", 7001 + n) for n in range(8)), "float32",
)  # fmt: skip
# neither trained on nor reported: what is chosen is chosen on these
VALIDATION = replace(
    TRAINING, snapshots=41, members=tuple(Member("kolmogorov", 7101 + n) for n in range(6))
)
# steps in a sampling interval of 0.25: the fewest that do not shorten the time to decorrelation,
# for finite volumes by more than 5 % on the flows of validation (finer grids: in proportion)
SPECTRAL = {32: 3, 40: 4, 48: 4, 56: 5, 64: 6, 80: 10, 96: 10, 128: 16}
CENTRAL = {32: 2, 40: 3, 48: 4, 64: 6}
FOURTH = {32: 3, 40: 4, 48: 5, 64: 7}
VAN_LEER = {32: 3}
LEARNED, LEARNED_STEPS = 32, 4
SCHEME: dict[str, int] = {"layers": 3, "channels": 16, "last": 1, "hold": 4}
STAGES = (Stage(1, 60), Stage(2, 60), Stage(4, 120), Stage(8, 40))
AVERAGE = 0.98
CANDIDATES = {
    "second": {32: (2, 3), 40: (2, 3), 48: (3, 4)},
    "fourth": {32: (2, 3, 4), 40: (3, 4), 48: (4, 5)},
    "learned": {32: (3, 4, 5)},
}
ERRORS = (0.0, 0.1, 0.2, 0.4, 0.8)
ENSEMBLE = 6
TURNS, TIMED = 4, 4  # that costs of finite volumes are taken again, and the samples of such a run
AIM = 1.3


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@lru_cache(maxsize=3)
def protocol(*cases: Case, starts: tuple[int, ...] = (0, 8)) -> Protocol:
    """The flows of all cases, from each start to as many samples as the last one has left."""
    grid = Grid(32, 32)
    flows = [reference(case, 128, log=note) for case in cases]
    members = tuple(m for case in cases for m in case.members)
    whole = replace(
        flows[0],
        case=replace(cases[0], members=members),
        vorticity=torch.cat([f.vorticity for f in flows], 1),
    )
    left = cases[0].snapshots - 1 - max(starts)
    return Protocol(whole, starts, min(left, 32), grid, 3 * grid.isotropic_spacing)


def row(name: str, points: int, dt: float, run: Run) -> dict[str, Any]:
    """What one line of a table holds."""
    line = decorrelation_row(name, points, dt, run)
    note(f"{name} {points}: T = {line['mean']:.2f}, {line['cost [ms]']:.2f} ms")
    return line


Rows = list[dict[str, Any]]


def alternating(rows: Rows, runs: Sequence[Callable[[], Run]], repeats: int) -> Rows:
    """The rows with the smallest CPU cost of runs that take turns, `repeats` times."""
    for number in range(repeats):
        for entry, again in zip(rows, runs, strict=True):
            entry["cost [ms]"] = min(entry["cost [ms]"], 1e3 * again().cost)
        note(f"turn {number + 1} of {repeats}")
    return rows


# --- the bound ------------------------------------------------------------------------------------


def bound(keep: Callable[[dict[str, Any]], None]) -> None:
    """Rows of the plain spectral solver, of what a start knows, and of an exact stress."""
    case, plan = UNSEEN, protocol(UNSEEN)
    plain: Rows = []
    runs = [partial(spectral_run, plan, n, case.interval / steps) for n, steps in SPECTRAL.items()]
    for (n, steps), run in zip(SPECTRAL.items(), runs, strict=True):
        plain.append(row("spectral, no model (b)", n, case.interval / steps, run()))
    plain = alternating(plain, runs, 3)
    part: dict[str, Any] = {"plain": plain, "start": [], "stress": [], "load": load()}
    keep(part)
    fine = case.interval / SPECTRAL[128]
    for n in (32, 40, 48, 64):
        for flows in (1, ENSEMBLE):
            name = "zero small scales" if flows == 1 else f"mean of {flows} with other small scales"
            part["start"].append(row(name, n, fine, start_run(plan, n, 128, fine, flows=flows)))
            keep(part)
    for error in ERRORS:
        dt = case.interval / SPECTRAL[32]
        run = exact_stress_run(plan, 32, dt, error=error)
        part["stress"].append(
            {**row(f"exact stress, error {error:g}", 32, dt, run), "error": error}
        )
        keep(part)


def ceilings(part: dict[str, Any]) -> Rows:
    """For each coarse grid: the best time that its start allows, and what gain is left for it.

    `gain(c)` is that time over what the plain solver reaches at c times the cost of the coarse
    grid's own; `dearest` the largest c at which it is still `AIM`.
    """
    costs = [r["cost [ms]"] for r in part["plain"]]
    times = [r["mean"] for r in part["plain"]]
    table = []
    for n in sorted({r["points"] for r in part["start"]}):
        best = max(r["mean"] for r in part["start"] if r["points"] == n)
        alone = next(r["cost [ms]"] for r in part["plain"] if r["points"] == n)

        def gain(factor: float, best: float = best, alone: float = alone) -> float:
            return best / at_equal_cost(factor * alone, costs, times)

        factors = np.geomspace(1, 30, 400)
        still = [f for f in factors if gain(f) >= AIM]
        table.append(
            {
                "points": n,
                "plain": next(r["mean"] for r in part["plain"] if r["points"] == n),
                "best": best,
                "gains": {str(f): gain(f) for f in (1, 1.5, 2, 3, 5)},
                "dearest": float(max(still)) if still else None,
            }
        )
    return table


# --- finite volumes -------------------------------------------------------------------------------


def trained(seed: int) -> tuple[LearnedScheme, float]:
    """A `LearnedScheme`, from the cache if it is there, and the CPU seconds of its training."""
    settings = f"{SCHEME} {LEARNED_STEPS} {STAGES} {AVERAGE}"
    key = hashlib.sha256(settings.encode()).hexdigest()[:8]
    path = cache_dir() / "closures" / f"scheme-{LEARNED}-{key}-{seed}.safetensors"
    times = path.with_suffix(".json")
    if not (path.is_file() and times.is_file()):
        flows = reference(TRAINING, 128).on(Grid(LEARNED, LEARNED))
        runs = Runs(Flows(flows, TRAINING.interval, TRAINING.viscosity, 0.1),
                    TRAINING.interval / LEARNED_STEPS)  # fmt: skip
        scheme, began = LearnedScheme(seed=seed, **SCHEME), time.process_time()
        fit_scheme(scheme, runs, STAGES, average=AVERAGE, seed=seed, log=note)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(scheme, path)
        times.write_text(json.dumps(time.process_time() - began))
    scheme = load_module(path)
    assert isinstance(scheme, LearnedScheme)
    return scheme, json.loads(times.read_text())


def solver(kind: str, seed: int = 0) -> dict[str, Any]:
    """What `fluids/finite-volume-2d` is told for a kind of row."""
    if kind == "fourth":
        return LearnedScheme(channels=0).requires_grad_(False).parts()
    if kind == "learned":
        return trained(seed)[0].parts()
    return {"advection": "central" if kind == "second" else "van-leer"}


def steps(keep: Callable[[dict[str, Any]], None]) -> None:
    """Times to decorrelation on the flows of validation, by steps in a sampling interval."""
    rows: Rows = []
    plan = protocol(VALIDATION, starts=(0, 4, 8, 12))
    for kind, grids in CANDIDATES.items():
        options = solver(kind)
        for points, counts in grids.items():
            for count in counts:
                dt = VALIDATION.interval / count
                run = finite_volume_run(plan, points, dt, **options)
                rows.append({**row(kind, points, dt, run), "steps": count})
                keep({"rows": rows, "load": load()})


def volumes(keep: Callable[[dict[str, Any]], None], seeds: int) -> None:
    """Plain finite volumes on their grids, then the coarse ones with a scheme of each seed."""
    plan, interval = protocol(UNSEEN, MORE), UNSEEN.interval
    flows, short = len(plan.reference.case.members), replace(plan, samples=TIMED)
    runs: list[Callable[[], Run]] = []
    rows: Rows = []

    def add(name: str, kind: str, points: int, count: int, **options: Any) -> None:
        dt = interval / count
        run = finite_volume_run(plan, points, dt, **options)
        rows.append({**row(name, points, dt, run), "kind": kind})
        runs.append(partial(finite_volume_run, short, points, dt, **options))
        keep({"rows": rows, "load": load(), "flows": flows})

    for n, count in CENTRAL.items():
        add("central, second order", "second", n, count, **solver("second"))
    for n, count in FOURTH.items():
        add("face values of fourth order", "fourth", n, count, **solver("fourth"))
    for n, count in VAN_LEER.items():
        add("van Leer", "other", n, count, **solver("van Leer"))
    for seed in range(seeds):
        add(f"learned, seed {seed}", "learned", LEARNED, LEARNED_STEPS, **solver("learned", seed))
        rows[-1]["training [CPU s]"] = trained(seed)[1]
    alternating(rows, runs, TURNS)
    compare(rows, flows)
    keep({"rows": rows, "load": load(), "flows": flows})


def compare(rows: Rows, flows: int) -> None:
    """Enters what plain solvers reach at each row's cost, the gain, and the gain's error.

    The error is the standard deviation over 2000 sets of flows drawn with replacement, the same set
    for all rows: their windows are the same, so a gain is surer than the times that it divides.
    """
    draws = np.random.default_rng(0).integers(flows, size=(2000, flows))
    windows = np.array([r["decorrelation"] for r in rows]).reshape(len(rows), -1, flows)
    drawn = windows[:, :, draws].mean((1, 3))  # (rows, 2000)
    for kind in ("second", "fourth"):
        plain = [n for n, r in enumerate(rows) if r["kind"] == kind]
        costs = [rows[n]["cost [ms]"] for n in plain]
        for entry, means in zip(rows, drawn, strict=True):
            cost = entry["cost [ms]"]
            equal = at_equal_cost(cost, costs, [rows[n]["mean"] for n in plain])
            others = [at_equal_cost(cost, costs, times) for times in drawn[plain].T]
            entry[f"{kind} at equal cost"], entry[f"gain, {kind}"] = equal, entry["mean"] / equal
            entry[f"gain's error, {kind}"] = float(np.std(means / others))


# --- the report -----------------------------------------------------------------------------------


def markdown(results: dict[str, Any]) -> str:
    """The report, from the JSON file."""
    lines = [
        "# What a coarse grid can know, and a learned correction of finite volumes",
        "",
        f"Made by `{results['command']}` on {results['machine']['processor']}, one thread. "
        "Kolmogorov flows at Re 1000 that no training has seen, two starts each, windows of 8 "
        "units; reference 256^2: 5001, 5002, 5005 for the bound, 5001 to 5006 for the finite "
        "volumes. Times to decorrelation T (correlation of the filtered vorticity below 0.95) with "
        "the standard error over the windows; a run that is never lost counts as 8. Costs are CPU "
        "milliseconds per unit of time and flow when all windows run as one batch, the smallest of "
        "alternating runs.",
    ]
    if "bound" in results:
        lines += ["", *_bound_lines(results["bound"])]
    if "volumes" in results:
        lines += ["", *_volume_lines(results["volumes"])]
    if "steps" in results:
        lines += ["", *_step_lines(results["steps"])]
    if results.get("notes"):
        lines += ["", "## What it says", "", "This part is written by hand, from the tables above."]
        lines += ["", *results["notes"]]
    return "\n".join([*lines, ""])


def _time(entry: dict[str, Any]) -> str:
    return f"{entry['mean']:.2f} +- {entry['standard error']:.2f}"


def _bound_lines(part: dict[str, Any]) -> list[str]:
    lines = [
        "## The spectral solver: what no closure can beat",
        "",
        "`from its start`: a solver on 128^2 that starts from the modes which the coarse grid "
        "keeps, with nothing in the place of the others, or the mean of runs with the small scales "
        "of other flows. It computes all later stress, so a closure, which is told no more, cannot "
        "be expected to last longer. `gain at c`: the better of the two over what the plain solver "
        "reaches on a finer grid at c times the coarse grid's cost: the most that a closure could "
        f"gain that makes the coarse solver c times as dear. `dearest`: the largest c with {AIM}.",
        "",
        "| grid | T, plain | cost [ms] | from its start | mean of starts | gain at 1 | 1.5 | 2 "
        "| 3 | 5 | dearest |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for entry in ceilings(part) if part["start"] else ():
        n = entry["points"]
        plain = next(r for r in part["plain"] if r["points"] == n)
        starts = [_time(r) for r in part["start"] if r["points"] == n]
        starts += [""] * (2 - len(starts))
        gains = " | ".join(f"{g:.2f}" for g in entry["gains"].values())
        dearest = "none" if entry["dearest"] is None else f"{entry['dearest']:.1f}"
        lines.append(
            f"| {n} | {_time(plain)} | {plain['cost [ms]']:.2f} | {' | '.join(starts)} "
            f"| {gains} | {dearest} |"
        )
    finer = [r for r in part["plain"] if r["points"] not in {s["points"] for s in part["start"]}]
    cells = ", ".join(f"{r['points']}^2: {_time(r)} at {r['cost [ms]']:.2f} ms" for r in finer)
    lines += ["", f"The plain solver on its other grids: {cells}."]
    if part["stress"]:
        lines += [
            "",
            "The exact stress of the flow that is followed, given to the solver on 32^2 once a "
            "step, with a relative error (the stress of another flow, scaled):",
            "",
            "| error of the stress | T |",
            "|---|---|",
            *(f"| {r['error']:g} | {_time(r)} |" for r in part["stress"]),
        ]
    return lines


def _step_lines(part: dict[str, Any]) -> list[str]:
    first, last = VALIDATION.members[0].seed, VALIDATION.members[-1].seed
    lines = [
        f"T on flows {first} to {last} (128^2, four starts each, windows of 7 units), which were "
        "neither trained on nor reported, by the number of steps in an interval of 0.25. The "
        "fewest that shorten it by less than 5 % are taken above:",
        "",
        "| face values | grid | T by steps |",
        "|---|---|---|",
    ]
    for kind, points in dict.fromkeys((r["name"], r["points"]) for r in part["rows"]):
        mine = [r for r in part["rows"] if (r["name"], r["points"]) == (kind, points)]
        cells = ", ".join(f"{r['steps']}: {_time(r)}" for r in mine)
        lines.append(f"| {kind} | {points} | {cells} |")
    return lines


def _volume_lines(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Coarse finite volumes with a learned scheme",
        "",
        "`fluids/finite-volume-2d` with a trained stencil of face values (84 numbers, starting at "
        "fourth order) and a stress from two 3 x 3 convolutions to 16 channels and a pointwise "
        "one, held through four steps; trained through the solver on trajectories and spectra of "
        "eight other flows. `second` and `fourth`: what the plain solver of that order reaches on "
        "a finer grid at the same cost, by interpolation in log(cost), with the gain over it and "
        "its standard error "
        f"over sets of {part['flows']} flows, the same for all rows.",
        "",
        "| face values | grid | dt | T | cost [ms] | second | gain | fourth | gain "
        "| training [CPU s] |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in part["rows"]:
        cells = ""
        for kind in ("second", "fourth"):
            known = entry["kind"] != kind and f"gain, {kind}" in entry
            equal, gain, error = f"{kind} at equal cost", f"gain, {kind}", f"gain's error, {kind}"
            gained = (
                f"| {entry[equal]:.2f} | {entry[gain]:.2f} +- {entry[error]:.2f} " if known else ""
            )
            cells += gained or "| | "
        seconds = f"{entry['training [CPU s]']:.0f}" if "training [CPU s]" in entry else ""
        lines.append(
            f"| {entry['name']} | {entry['points']} | {entry['dt']:.4f} | {_time(entry)} "
            f"| {entry['cost [ms]']:.2f} {cells}| {seconds} |"
        )
    for kind in ("second", "fourth"):
        key = f"gain, {kind}"
        gains = [r[key] for r in part["rows"] if r["kind"] == "learned" and key in r]
        if len(gains) > 1:
            lines += [
                "",
                f"Gain over {kind} order, {len(gains)} seeds of training: {np.mean(gains):.2f} +- "
                f"{np.std(gains, ddof=1):.2f} (standard deviation), {min(gains):.2f} to "
                f"{max(gains):.2f}.",
            ]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=("steps", "bound", "volumes", []), default=[])
    parser.add_argument("--seeds", type=int, default=3, help="of training")
    parser.add_argument("--report", action="store_true", help="only write the .md again")
    parser.add_argument("--out", type=Path, default=HERE / "FLUIDS_CORRECTIONS.json")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    head = {"command": "python benchmarks/fluids_corrections.py", "machine": describe(),
            "torch": torch.__version__}  # fmt: skip
    results = {**head, **results}

    def keep(name: str, part: dict[str, Any]) -> None:
        results[name] = part
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")

    chosen = () if arguments.report else arguments.parts or ("steps", "bound", "volumes")
    if "steps" in chosen:
        steps(partial(keep, "steps"))
    if "bound" in chosen:
        bound(partial(keep, "bound"))
    if "volumes" in chosen:
        volumes(partial(keep, "volumes"), arguments.seeds)
    arguments.out.with_suffix(".md").write_text(markdown(results))
    print(arguments.out.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
