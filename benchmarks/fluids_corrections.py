"""What no closure can beat, and a learned correction of finite volumes beside finer grids.

python benchmarks/fluids_corrections.py [PART ...] [--seeds N] [--out FILE.json]

Parts: `bound` (how long a flow can be followed from what a coarse grid knows of it, and how exact a
stress has to be) and `volumes` (`LearnedScheme` in `fluids/finite-volume-2d`, trained here for each
seed and cached, beside the plain solver on finer grids at equal run time). Default: both. Three
Kolmogorov flows at Re 1000 that no training has seen, two starts each; one thread, float32.

Writes benchmarks/FLUIDS_CORRECTIONS.json after every row, and .md from it. What the report says
about its numbers is written by hand: "notes" in the JSON file, which is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
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
TRAINING = Case(
    1e-3, 128, 0.0125, 10.0, 0.25, 81,
    tuple(Member("kolmogorov", 7001 + n) for n in range(8)), "float32",
)  # fmt: skip
# steps in a sampling interval of 0.25: the fewest that do not shorten the time to decorrelation
SPECTRAL = {32: 3, 40: 4, 48: 4, 56: 5, 64: 6, 80: 10, 96: 10, 128: 16}
CENTRAL = {32: 2, 40: 3, 48: 4, 64: 6, 96: 10}
FOURTH = {32: 3, 48: 5, 64: 7, 96: 12}
VAN_LEER = {32: 3, 64: 8}
LEARNED, LEARNED_STEPS, TRAINED_STEPS = 32, 3, 4
STAGES = (Stage(1, 80), Stage(2, 60), Stage(4, 160))
ERRORS = (0.0, 0.1, 0.2, 0.4, 0.8)
ENSEMBLE = 6
AIM = 1.3


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@lru_cache(maxsize=1)
def protocol() -> Protocol:
    grid = Grid(32, 32)
    flows = reference(UNSEEN, 128, log=note)
    return Protocol(flows, (0, 8), 32, grid, 3 * grid.isotropic_spacing)


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
    case, plan = UNSEEN, protocol()
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
    path = cache_dir() / "closures" / f"scheme-{LEARNED}-{seed}.safetensors"
    times = path.with_suffix(".json")
    if not (path.is_file() and times.is_file()):
        flows = reference(TRAINING, 128).on(Grid(LEARNED, LEARNED))
        runs = Runs(Flows(flows, TRAINING.interval, TRAINING.viscosity, 0.1),
                    TRAINING.interval / TRAINED_STEPS)  # fmt: skip
        scheme, began = LearnedScheme(seed=seed), time.process_time()
        fit_scheme(scheme, runs, STAGES, seed=seed, log=note)
        path.parent.mkdir(parents=True, exist_ok=True)
        save(scheme, path)
        times.write_text(json.dumps(time.process_time() - began))
    scheme = load_module(path)
    assert isinstance(scheme, LearnedScheme)
    return scheme, json.loads(times.read_text())


def volumes(keep: Callable[[dict[str, Any]], None], seeds: int) -> None:
    """Plain finite volumes on their grids, then the coarse ones with a scheme of each seed."""
    plan, interval = protocol(), UNSEEN.interval
    runs: list[Callable[[], Run]] = []
    rows: Rows = []

    def add(name: str, kind: str, points: int, steps: int, **options: Any) -> None:
        run = partial(finite_volume_run, plan, points, interval / steps, **options)
        runs.append(run)
        rows.append({**row(name, points, interval / steps, run()), "kind": kind})
        keep({"rows": rows, "load": load()})

    for n, steps in CENTRAL.items():
        add("central, second order", "second", n, steps, advection="central")
    fourth = LearnedScheme(channels=0).requires_grad_(False)
    for n, steps in FOURTH.items():
        add("face values of fourth order", "fourth", n, steps, **fourth.parts())
    for n, steps in VAN_LEER.items():
        add("van Leer", "other", n, steps, advection="van-leer")
    for seed in range(seeds):
        scheme, seconds = trained(seed)
        add(f"learned, seed {seed}", "learned", LEARNED, LEARNED_STEPS, **scheme.parts())
        rows[-1]["training [CPU s]"] = seconds
    alternating(rows, runs, 2)
    for entry in rows:
        for kind in ("second", "fourth"):
            plain = [r for r in rows if r["kind"] == kind]
            equal = at_equal_cost(
                entry["cost [ms]"], [r["cost [ms]"] for r in plain], [r["mean"] for r in plain]
            )
            entry[f"{kind} at equal cost"], entry[f"gain, {kind}"] = equal, entry["mean"] / equal
    keep({"rows": rows, "load": load()})


# --- the report -----------------------------------------------------------------------------------


def markdown(results: dict[str, Any]) -> str:
    """The report, from the JSON file."""
    plan = "Kolmogorov flows 5001, 5002, 5005 at Re 1000, two starts each, windows of 8 units"
    lines = [
        "# What a coarse grid can know, and a learned correction of finite volumes",
        "",
        f"Made by `{results['command']}` on {results['machine']['processor']}, one thread. "
        f"{plan}; reference 256^2. Times to decorrelation T (correlation of the filtered vorticity "
        "below 0.95) with the standard error over the six windows; a run that is never lost counts "
        "as 8. Costs are CPU milliseconds per unit of time and flow, the smallest of alternating "
        "runs.",
    ]
    if "bound" in results:
        lines += ["", *_bound_lines(results["bound"])]
    if "volumes" in results:
        lines += ["", *_volume_lines(results["volumes"])]
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


def _volume_lines(part: dict[str, Any]) -> list[str]:
    lines = [
        "## Coarse finite volumes with a learned scheme",
        "",
        "`fluids/finite-volume-2d` with a trained stencil of face values (48 numbers, starting at "
        "fourth order) and a stress from three-layer convolutions of 16 channels, once a step; "
        "trained through the solver on trajectories and spectra of eight other flows. `second` and "
        "`fourth`: what the plain solver of that order reaches on a finer grid at the same cost, "
        "by interpolation in log(cost), with the gain over it.",
        "",
        "| face values | grid | dt | T | cost [ms] | second | gain | fourth | gain "
        "| training [CPU s] |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in part["rows"]:
        cells = ""
        for kind in ("second", "fourth"):
            known = entry["kind"] != kind and f"gain, {kind}" in entry
            equal, gain = f"{kind} at equal cost", f"gain, {kind}"
            cells += f"| {entry[equal]:.2f} | {entry[gain]:.2f} " if known else "| | "
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
    parser.add_argument("parts", nargs="*", choices=("bound", "volumes", []), default=[])
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

    chosen = () if arguments.report else arguments.parts or ("bound", "volumes")
    if "bound" in chosen:
        bound(partial(keep, "bound"))
    if "volumes" in chosen:
        volumes(partial(keep, "volumes"), arguments.seeds)
    arguments.out.with_suffix(".md").write_text(markdown(results))
    print(arguments.out.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
