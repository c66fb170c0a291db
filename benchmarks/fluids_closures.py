"""How long subgrid closures follow a filtered direct simulation, against CPU time.

python benchmarks/fluids_closures.py [--quick] [--trunk NAME=FOLDER ...] [--out FILE.json]
python benchmarks/fluids_closures.py --only-trunk --train-trunk [--trunk NAME=FOLDER ...]

The second form adds the foundation models' rows to the report that the first one wrote: it trains
them by recipe (`TRUNK`), or takes those of `--trunk`, and runs nothing else.

Writes benchmarks/FLUIDS_CLOSURES.json and .md. Everything runs on one thread in float32; times are
CPU times (the smallest of several interleaved repeats), per flow and unit of time.

Two baselines: (a) second-order finite volumes, if the plugin has them, (b) the ETDRK4
pseudo-spectral solver without a model. A gain is claimed only against (b) at equal run time: (b) on
its own grids, each with the largest time step that does not shorten the time to decorrelation,
interpolated in log(cost). The closures of the plugin that are not foundation models are trained by
recipes/fluids_closures.py and cached.

The numbers are the script's. What the report says about them is written by hand: "notes" in the
JSON file, which `--merge` and `--only-trunk` keep.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decorrelation_row import decorrelation_row
from machine import describe, load
from sfm_fluids.closures.classical import DynamicSmagorinsky, GradientModel, Smagorinsky
from sfm_fluids.data.dns_2d import Case
from sfm_fluids.evaluation.decorrelation import (
    Protocol,
    Run,
    at_equal_cost,
    simulator,
    spectral_run,
)
from sfm_fluids.evaluation.reference import reference
from sfm_fluids.evaluation.stability import spectrum_error, stability
from sfm_fluids.flows.members import Member
from sfm_fluids.learned.training import load as load_closure
from sfm_fluids.learned.training import save
from sfm_fluids.spectral.grid_2d import Grid, energy_spectrum, velocity
from torch import nn

from sfm.data.storage import cache_dir
from sfm.model import FoundationModel

HERE = Path(__file__).resolve().parent
RATIO = 3.0
VOLUMES = "Finite volumes"
BANDS = (1, 4, 8, 11)
ABOUT = (
    "Times to decorrelation T are in box units (vorticity correlation with the filtered direct "
    "simulation below 0.95), mean and standard error over windows of flows that no closure has "
    "seen. Costs are CPU milliseconds per unit of time and flow, of a batch of all windows. `(b)` "
    "is the time that the plain pseudo-spectral solver reaches at the same cost, by interpolation "
    "in log(cost) between its grids; `gain` is T over that. Every line has the largest time step "
    "that does not shorten its T; closures are evaluated once a step. Long runs: the energy over "
    "that of the filtered direct simulation, and |log10| of the ratio of their energies in three "
    "bands of wavenumbers (1-3, 4-7, 8-10 on 32 points, in proportion on others)."
)
HAND = "This part is written by hand, from the tables above."

# flows that no closure was trained on: other seeds, simulated on 8 and 5 times the points
FLOWS = {
    "Re 1000": (
        Case(
            1e-3, 256, 0.003125, 10.0, 0.25, 41,
            (Member("kolmogorov", 5001), Member("kolmogorov", 5002), Member("ring", 5003),
             Member("ring", 5004)), "float32",
        ), 128, (0, 8), 32, 32,
    ),
    "Re 4000": (
        Case(
            2.5e-4, 320, 0.003125, 8.0, 0.25, 37,
            (Member("kolmogorov", 6001), Member("ring", 6003)), "float32",
        ), 192, (0, 8, 16), 20, 64,
    ),
}  # fmt: skip


# the foundation model's rows: recipe and what is changed in it; the second starts from the first
TRUNK = (
    ("a priori (300 steps)", "fluids-a-priori", ("training.steps=300",)),
    (
        "a posteriori (40 steps more)",
        "fluids-a-posteriori",
        ("training.steps=40", "training.ema=0.9", "optimizer.warmup=10"),
    ),
)


@dataclass(frozen=True)
class Entry:
    """One line of the table."""

    name: str
    points: int
    closure: Callable[[], nn.Module] | None = None
    ratio: float = 0.0
    kind: str = "closure"
    long: bool = True


def protocol_of(name: str) -> Protocol:
    """Reference flows (simulated once, then from the cache), compared on the LES grid."""
    case, kept, starts, samples, points = FLOWS[name]
    grid = Grid(points, points)
    flows = reference(case, kept, log=lambda text: note(f"{name}: {text}"))
    return Protocol(flows, starts, samples, grid, RATIO * grid.isotropic_spacing)


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def trained(name: str) -> Callable[[], nn.Module]:
    """A closure of recipes/fluids_closures.py, trained at first use."""

    def make() -> nn.Module:
        source = HERE.parent / "recipes" / "fluids_closures.py"
        path = cache_dir() / "closures" / f"{name}.safetensors"
        if not path.is_file():
            spec = importlib.util.spec_from_file_location("fluids_closures", source)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            path.parent.mkdir(parents=True, exist_ok=True)
            save(module.train(name, log=note), path)
        return load_closure(path)

    return make


def trunk(folder: str) -> Callable[[], nn.Module]:
    """A foundation model as a closure."""

    def make() -> nn.Module:
        model = FoundationModel.from_pretrained(folder).float()
        return model.closure("fluids", collapsed=model.config.trunk["experts"] > 1)

    return make


def train_trunk() -> dict[str, str]:
    """Folders of the models of `TRUNK`, by name; trained at first use, about ten CPU minutes."""
    from sfm.recipe import load as load_recipe
    from sfm.train.pretrain import pretrain

    folders: dict[str, str] = {}
    for name, recipe, changes in TRUNK:
        folder = cache_dir() / "closures" / f"{recipe}-{changes[0].partition('=')[2]}"
        if not (folder / "report.json").is_file():
            before = [f"start={path}" for path in list(folders.values())[-1:]]
            source = HERE.parent / "recipes" / f"{recipe}.yaml"
            plan = load_recipe(source, [*changes, *before])
            pretrain(plan, folder, resume=(folder / "run" / "last.ckpt").is_file())
        folders[name] = str(folder)
    return folders


def trunk_rows(stored: dict[str, Any], flows: str, trunks: dict[str, str]) -> dict[str, Any]:
    """A stored study with the rows of `trunks` in it, in the place of those it has.

    They are timed in this run, so `gain` sets them beside a (b) that was timed in another.
    """
    protocol = protocol_of(flows)
    kept = [r for r in stored["rows"] if not r["name"].startswith("trunk, ")]
    base = [r for r in kept if r["kind"] == "spectral"]
    rows = []
    for name, folder in trunks.items():
        entry = Entry(f"trunk, {name}", FLOWS[flows][-1], trunk(folder), RATIO, long=False)
        closure = trunk(folder)()
        dt, run = best_step(protocol, entry, closure)
        (cost,) = costs(protocol, [(entry, closure, dt)], 3)
        rows.append({**_row(entry, dt, run, cost, base), "load": load(), "timed": "separately"})
    return {**stored, "rows": kept + rows}


def entries(flows: str, trunks: dict[str, str], quick: bool) -> list[Entry]:
    """The table's lines: (b) on its grids, then closures."""
    base = FLOWS[flows][-1]
    grids: tuple[int, ...] = (
        (32, 40, 48, 56, 64, 80, 96, 128) if base == 32 else (64, 80, 96, 112, 128, 160)
    )
    if quick:
        grids = grids[:4]
    rows = [Entry("spectral, no model (b)", n, kind="spectral", long=n == base) for n in grids]
    smagorinsky = 0.1
    rows += [
        Entry("no model, filtered equations", base, None, RATIO, "closure"),
        Entry(f"Smagorinsky, C = {smagorinsky}", base, lambda: Smagorinsky(smagorinsky)),
        Entry("dynamic Smagorinsky", base, DynamicSmagorinsky),
        Entry("Clark", base, GradientModel, RATIO),
        Entry("convolutional, a posteriori", base, trained("convolutional")),
        Entry("local, 2 scales, a priori", base, trained("local-a-priori")),
        Entry("local, 1 scale, a posteriori", base, trained("local-1")),
        Entry("local, 2 scales, a posteriori", base, trained("local")),
        Entry("local, 3 scales, a posteriori", base, trained("local-3")),
    ]
    finer = (40, 48) if base == 32 else (80, 96)
    rows += [
        Entry(
            f"local, {scales} scale{'s' * (scales > 1)}, a posteriori", n, trained(name), long=False
        )
        for n in (() if quick else finer)
        for scales, name in ((1, "local-1"), (3, "local-3"))
    ]
    if base == 32:
        rows += [
            Entry(f"trunk, {name}", base, trunk(folder), RATIO, long=False)
            for name, folder in trunks.items()
        ]
    return rows


def best_step(protocol: Protocol, entry: Entry, closure: nn.Module | None) -> tuple[float, Run]:
    """The largest dt whose time to decorrelation is within 1% of that of the next smaller one."""
    interval = protocol.reference.case.interval
    speed = 5.0
    first = max(3, math.ceil(interval * speed * (entry.points // 3) / 5.5))
    ladder = [n for n in (3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40) if n >= first]
    width = entry.ratio * 2 * math.pi / entry.points

    def run(n: int) -> Run:
        return spectral_run(protocol, entry.points, interval / n, width=width, closure=closure,
                            closure_every="step")  # fmt: skip

    before = run(ladder[0])
    for coarse, fine in pairwise(ladder):
        after = run(fine)
        survived = np.isfinite(before.correlation).all()
        if survived and before.decorrelation.mean() > 0.99 * after.decorrelation.mean():
            return interval / coarse, before
        before = after
    return interval / ladder[-1], before


def costs(
    protocol: Protocol, rows: Sequence[tuple[Entry, Any, float]], repeats: int
) -> list[float]:
    """CPU seconds per unit of time and flow, the smallest of interleaved repeats."""
    best = [math.inf] * len(rows)
    prepared = []
    for entry, closure, dt in rows:
        grid = Grid(entry.points, entry.points)
        width = entry.ratio * grid.isotropic_spacing
        sim = simulator(protocol, grid, dt, width=width, closure=closure, closure_every="step")
        omega = protocol.windows(protocol.reference.on(grid, width))[0]
        prepared.append((sim, sim.from_velocity(velocity(omega, grid)), len(omega), dt))
    with torch.no_grad():
        for _ in range(repeats):
            for index, (sim, state, flows, dt) in enumerate(prepared):
                began = time.process_time()
                sim(state, 10)
                spent = (time.process_time() - began) / (10 * dt * flows)
                best[index] = min(best[index], spent)
    return best


def exact_spectrum(protocol: Protocol, width: float) -> np.ndarray:
    """Mean over all samples and flows of the reference's filtered spectrum on the LES grid."""
    omega = protocol.reference.on(protocol.compare, width)
    return energy_spectrum(omega, protocol.compare)[1].mean((0, 1)).numpy()


def long_run(
    protocol: Protocol, entry: Entry, closure: Any, dt: float, steps: int
) -> dict[str, Any]:
    """Survival and band errors over many steps, of the first start's flows."""
    width = entry.ratio * 2 * math.pi / entry.points
    few = Protocol(protocol.reference, protocol.starts[:1], 1, protocol.compare, protocol.width)
    run = stability(few, entry.points, dt, steps=steps, width=width, closure=closure,
                      closure_every="step")  # fmt: skip
    result: dict[str, Any] = {"steps": steps, "survived": run.survived}
    if np.isfinite(run.spectrum).all():
        exact = exact_spectrum(protocol, width)
        scale = entry.points // 32
        bands = tuple(b * scale for b in BANDS[1:])
        result["band errors"] = spectrum_error(run.spectrum, exact, (1, *bands))
        result["energy ratio"] = float(run.spectrum.sum() / exact.sum())
    return result


def study(flows: str, trunks: dict[str, str], *, quick: bool, steps: int) -> dict[str, Any]:
    """All lines of one set of flows."""
    protocol, rows = protocol_of(flows), []
    for entry in entries(flows, trunks, quick):
        closure = entry.closure() if entry.closure is not None else None
        dt, run = best_step(protocol, entry, closure)
        rows.append((entry, closure, dt, run))
        note(
            f"{flows}: {entry.name} {entry.points}: T = {run.decorrelation.mean():.2f}, dt {dt:.4f}"
        )
    spent = costs(protocol, [r[:3] for r in rows], 3 if quick else 8)
    base = [
        decorrelation_row(entry.name, entry.points, dt, run, cost)
        for (entry, _, dt, run), cost in zip(rows, spent, strict=True)
        if entry.kind == "spectral"
    ]
    table = []
    for (entry, closure, dt, run), cost in zip(rows, spent, strict=True):
        row = _row(entry, dt, run, cost, base)
        if entry.long and steps:
            row["long"] = long_run(protocol, entry, closure, dt, steps)
            note(f"{flows}: {entry.name} {entry.points}: {row['long']}")
        table.append(row)
    return _described(protocol, table)


def _row(
    entry: Entry, dt: float, run: Run, cost: float, base: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """One line of a study: what was measured, beside (b) at the same cost."""
    row = decorrelation_row(entry.name, entry.points, dt, run, cost)
    costs_of_base = [r["cost [ms]"] for r in base]
    equal = at_equal_cost(row["cost [ms]"], costs_of_base, [r["mean"] for r in base])
    beside = {"spectral at equal cost": equal, "gain": row["mean"] / equal}
    return {**row, "kind": entry.kind, **beside}


def finite_volumes(*, quick: bool) -> dict[str, Any]:
    """Baseline (a) and learned interpolation, on the Kolmogorov flows at Re 1000.

    Costs are those of the runs themselves.
    """
    from sfm_fluids.evaluation.finite_volume import finite_volume_run, kolmogorov_only

    protocol = kolmogorov_only(protocol_of("Re 1000"))
    case = protocol.reference.case
    runs: list[tuple[str, int, float, Run]] = []

    def add(name: str, points: int, dt: float, run: Run) -> None:
        runs.append((name, points, dt, run))
        note(f"finite volumes: {name} {points}: T = {run.decorrelation.mean():.2f}")

    for points in (32, 64) if quick else (32, 64, 128):
        dt = case.interval / (points // 4)
        run = finite_volume_run(protocol, points, dt)
        add("finite volumes, van Leer (a)", points, dt, run)
    if not quick:
        run = finite_volume_run(protocol, 32, 1 / 32, interpolation=trained("interpolation")())
        add("finite volumes, learned interpolation", 32, 1 / 32, run)
    for points, steps in ((32, 3), (48, 4), (64, 7)):
        dt = case.interval / steps
        add("spectral, no model (b)", points, dt, spectral_run(protocol, points, dt))
    local = trained("local")()
    run = spectral_run(protocol, 32, case.interval / 3, closure=local, closure_every="step")
    add("spectral, local, 2 scales, a posteriori", 32, case.interval / 3, run)
    rows = [
        {**decorrelation_row(name, points, dt, run), "kind": "spectral"}
        for name, points, dt, run in runs
    ]
    return _described(protocol, rows)


def _described(protocol: Protocol, rows: list[dict[str, Any]]) -> dict[str, Any]:
    case = protocol.reference.case
    return {
        "flows": [f"{m.kind} {m.seed}" for m in case.members],
        "windows": len(protocol.starts) * len(case.members),
        "window": protocol.samples * case.interval,
        "reference": f"{case.points}^2, dt {case.dt:g}, {case.precision}",
        "viscosity": case.viscosity,
        "compared on": protocol.compare.height,
        "rows": rows,
    }


def markdown(results: dict[str, Any]) -> str:
    """The report."""
    lines = [
        "# Subgrid closures of two-dimensional turbulence, beside finer grids",
        "",
        f"Made by `{results['command']}` on {results['machine']['processor']}, one thread, "
        f"float32. {ABOUT}",
    ]
    for name, part in results["studies"].items():
        lines += [
            "",
            f"## {name}",
            "",
            f"{', '.join(part['flows'])}; {part['windows']} windows of {part['window']:g} units; "
            f"reference {part['reference']}; compared on {part['compared on']}^2 points; "
            f"load average {part['load']:.1f} on {results['machine']['cores']} cores.",
            "",
            "| solver, closure | grid | dt | T | cost [ms] | (b) | gain | 10,000 steps "
            "| energy | band errors (log10) |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in part["rows"]:
            long = row.get("long", {})
            lived = "" if not long else (
                "survive" if min(long["survived"]) == long["steps"]
                else f"blow up at {min(long['survived'])} to {max(long['survived'])}"
            )  # fmt: skip
            bands = ", ".join(f"{x:.2f}" for x in long.get("band errors", ()))
            energy = f"{long['energy ratio']:.2f}" if "energy ratio" in long else ""
            gain = "" if row["kind"] == "spectral" else f"{row['gain']:.2f}"
            equal = "" if row["kind"] == "spectral" else f"{row['spectral at equal cost']:.2f}"
            lines.append(
                f"| {row['name']} | {row['points']} | {row['dt']:.4f} "
                f"| {row['mean']:.2f} +- {row['standard error']:.2f} | {row['cost [ms]']:.2f} "
                f"| {equal} | {gain} | {lived} | {energy} | {bands} |"
            )
    if any(r.get("timed") for p in results["studies"].values() for r in p["rows"]):
        lines += [
            "",
            "Rows of the trunk were made and timed apart from the others, by `--only-trunk`.",
        ]
    if results.get("notes"):
        lines += ["", "## What it says", "", HAND, "", *results["notes"]]
    return "\n".join([*lines, ""])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few grids, one set of flows")
    parser.add_argument("--flows", choices=[*FLOWS, VOLUMES], action="append")
    parser.add_argument("--steps", type=int, default=10_000, help="of the long runs; 0 for none")
    parser.add_argument("--merge", action="store_true", help="keep the other studies of --out")
    parser.add_argument("--trunk", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--train-trunk", action="store_true", help="train the models of TRUNK")
    parser.add_argument("--only-trunk", action="store_true", help="only their rows, into --out")
    parser.add_argument("--out", type=Path, default=HERE / "FLUIDS_CLOSURES.json")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    trunks = dict(text.split("=", 1) for text in arguments.trunk)
    chosen = arguments.flows or (["Re 1000"] if arguments.quick else [*FLOWS, VOLUMES])
    if arguments.train_trunk:
        trunks = {**train_trunk(), **trunks}
    if arguments.only_trunk and not trunks:
        parser.error("--only-trunk needs --train-trunk or --trunk NAME=FOLDER")
    keep = arguments.merge or arguments.only_trunk
    before = json.loads(arguments.out.read_text()) if keep else {"studies": {}}
    began = time.process_time()
    results: dict[str, Any] = {
        "command": "python benchmarks/fluids_closures.py",
        "machine": describe(),
        "torch": torch.__version__,
        "studies": dict(before["studies"]),
        "notes": before.get("notes", []),
    }
    if arguments.only_trunk:
        chosen = []
        stored = results["studies"]["Re 1000"]
        results = {**before, "studies": dict(before["studies"])}
        results["studies"]["Re 1000"] = trunk_rows(stored, "Re 1000", trunks)
    for name in chosen:
        if name == VOLUMES:
            rows = finite_volumes(quick=arguments.quick)
        else:
            rows = study(name, trunks, quick=arguments.quick, steps=arguments.steps)
        results["studies"][name] = {**rows, "load": load()}
    if not arguments.only_trunk:
        results["cpu_seconds"] = time.process_time() - began
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(markdown(results))
    print(arguments.out.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
