"""From the measured lists of the flow solvers to ratios, tables and files."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from fluids import BOUNDS, COMPILED, OURS, SOLVERS
from report import between, heading, ratios, table

TEXT, NUMBERS = "RESULTS_FLUIDS.md", "results_fluids.json"
HEADINGS = {
    "forward": "Forward: {steps} steps",
    "gradient": "Forward and backward: gradient of 1/2 sum omega_end^2 in omega_0, {steps} steps",
}
PROTOCOL = (
    "Two-dimensional decaying turbulence, d omega/dt + u . grad omega = nu lap omega on a periodic "
    "square, the same initial flow everywhere, float32, {threads} thread, 2/3 dealiasing: "
    "vorticity in, vorticity out, {steps} steps in between, without drag and force (a Kolmogorov "
    "force costs ours and Exponax nothing, jax-cfd and torch-cfd two more transforms in each "
    "evaluation). Every package has a process of its own; the processes take turns, forwards and "
    "backwards, {rounds} times, each turn a block of about {block_seconds} s. A ratio is peer / "
    "ours within a turn, so more than 1 means that ours is faster; given as min - **median** - max "
    "over the turns. CPU is the time of all threads of the process, wall the time that passed (it "
    "counts waiting for other programs on this machine). JAX programs are compiled ahead of time "
    "as a whole; compilation is not in the times and is listed below. All processes keep freed "
    "memory (glibc's thresholds). Ours is used without any option but grid, dt, viscosity and "
    "stepper, eager, not compiled; `sfm-compiled`, at 64^2, has the setting `kernel=compiled` too; "
    "its gradient keeps the last steps, up to 64 MiB, and redoes the "
    "others in the backward pass, the peers' keeps everything.\n\n"
    "Solutions are compared before anything is timed; more than {tolerance:g} apart from ours is "
    "left out. CN-RK4 of jax-cfd and torch-cfd is of second order in the viscous term, ETDRK4 is "
    "exact in it and of fourth order; it is compared because it is the best that they have.\n\n"
    "Load of the machine before and after: {load_before} and {load_after}."
)


def _solvers(solvers: dict[str, Any]) -> list[str]:
    rows = [
        (name, ", ".join(f"{k} {v}" for k, v in s["packages"].items()), scheme, summary)
        for name, s in solvers.items()
        for scheme, summary in s["schemes"].items()
    ]
    return ["### Solvers", table(("solver", "versions", "scheme", "what"), rows)] if rows else []


def _agreement(rows: list[dict[str, Any]], cases: dict[str, str]) -> list[str]:
    if not rows:
        return []
    cells = [
        (
            f"{r['size']}^2",
            f"{r['solver']} {r['scheme']}",
            r["task"],
            "" if r["solver"] == OURS else f"{r['difference']:.1e}",
            f"{r['error']:.1e}" if "error" in r else "",
        )
        for r in rows
        if r["solver"] != OURS or "error" in r
    ]
    note = "Relative differences (root mean square) from the scheme of ours that it is compared "
    note += "with, and errors against ETDRK4 in float64 with dt/4. "
    note += "; ".join(f"{n}^2: {summary}" for n, summary in cases.items()) + "."
    head = ("grid", "solver", "what", "difference from ours", "error")
    return ["### Equal work", note, table(head, cells)]


def _aims(results: dict[str, Any]) -> list[str]:
    """What was aimed at, and the medians of what was measured."""
    timings, longest = results["timings"], results["protocol"]["long_steps"]

    def share(rows: list[dict[str, Any]], size: int, top: dict[str, str]) -> str:
        forward = {"size": size, "solver": OURS, "scheme": "etdrk4", "task": "forward"}
        a, b = _pick(rows, **{**forward, **top}), _pick(rows, **forward)
        return f"{median(ratios(a['cpu'], b['cpu'])):.2f}" if a and b else "not measured"

    aims = {
        "ETDRK4, time of Exponax / ours, 1.5 or more": {"solver": "exponax"},
        "ETDRK4, time of torch-cfd / ours, 3 or more": {"solver": "torch-cfd", "scheme": "cnrk4"},
        "share of the transforms (the solver's own), 0.6 or more up to 256^2": {"task": BOUNDS[0]},
        "share of the transforms (whole)": {"task": BOUNDS[1]},
    }
    sizes = [int(n) for n in results["cases"]]
    rows = [
        (aim, ", ".join(f"{n}^2: {share(timings, n, top)}" for n in sizes))
        for aim, top in aims.items()
    ]
    cost = share(results["long"], results["protocol"]["long_size"], {"task": "gradient"})
    rows.append((f"{longest} steps with backward / forward alone, below 5", cost))
    weight = _pick(results["memory"], solver=OURS, steps=longest)
    rise = f"{weight['rise']:.0f} MiB" if weight else "not measured"
    rows.append((f"{longest} steps with backward, below 1 GB", rise))
    return ["### Aims", table(("aim", "measured, medians of CPU time"), rows)]


def _pick(rows: list[dict[str, Any]], **values: Any) -> dict[str, Any] | None:
    return next((r for r in rows if all(r[k] == v for k, v in values.items())), None)


def _times(rows: list[dict[str, Any]], task: str, steps: int) -> list[str]:
    mine = [r for r in rows if r["task"] == task]
    if not mine:
        return []
    cells, compared = [], []
    for r in mine:
        milliseconds = [between([1e3 * v for v in r[c]]) for c in ("cpu", "wall")]
        cells.append((f"{r['size']}^2", f"{r['solver']} {r['scheme']}", *milliseconds))
        if r["solver"] == OURS:
            continue
        scheme = SOLVERS[r["solver"]].equal[r["scheme"]]
        for name in (OURS, COMPILED):
            ours = _pick(mine, size=r["size"], solver=name, scheme=scheme)
            if not ours or r["solver"] == name:
                continue
            label = f"{r['solver']} {r['scheme']} / {name} {scheme}"
            both = [between(ratios(r[c], ours[c])) for c in ("cpu", "wall")]
            compared.append((f"{r['size']}^2", label, *both))
    parts = [f"### {HEADINGS[task].format(steps=steps)}"]
    if compared:
        compared.sort(key=lambda row: row[1])
        parts.append(table(("grid", "ratio", "CPU", "wall"), compared))
    parts.append(table(("grid", "solver", "CPU, ms per step", "wall, ms per step"), cells))
    return parts


def _bound(rows: list[dict[str, Any]]) -> list[str]:
    cells = []
    for r in rows:
        if (r["solver"], r["scheme"], r["task"]) != (OURS, "etdrk4", "forward"):
            continue
        shares = []
        for task in BOUNDS:
            bound = _pick(rows, size=r["size"], solver=OURS, task=task)
            if bound is None:
                break
            shares.append(between([100 * v for v in ratios(bound["cpu"], r["cpu"])]))
            shares.append(f"{1e3 * median(bound['cpu']):.3g}")
        else:
            cells.append((f"{r['size']}^2", *shares))
    if not cells:
        return []
    note = (
        "CPU time of the 16 transforms of a step (4 evaluations, each with two inverse and two "
        "forward ones in pairs), done back to back, over the time of an ETDRK4 step of ours, in "
        "percent. `solver's own`: with the columns that the 2/3 rule drops left out, as the solver "
        "does them; `whole`: `torch.fft.irfft2` and `rfft2`."
    )
    head = ("grid", "solver's own, %", "ms", "whole, %", "ms")
    return ["### Share of the transforms in a step", note, table(head, cells)]


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    cells = [
        (
            r["steps"],
            f"{r['solver']} {r['scheme']}",
            r["task"],
            f"{r['rise']:.0f}",
            f"{r['rise'] / r['steps']:.2f}",
        )
        for r in rows
    ]
    note = (
        "Rise of a fresh process's peak above what it held before the call (packages, compiled "
        "program, initial flow). `recomputed`: with `jax.checkpoint` around each step."
    )
    head = ("steps", "solver", "what", "rise, MiB", "per step, MiB")
    return ["### Memory of the backward pass, 256^2", note, table(head, cells)]


def _long(rows: list[dict[str, Any]], steps: int) -> list[str]:
    cells = []
    for r in rows:
        forward = _pick(rows, solver=r["solver"], task="forward")
        cost = "" if forward is None or r is forward else between(ratios(r["cpu"], forward["cpu"]))
        ours = _pick(rows, solver=OURS, task="forward" if r["task"] == "forward" else "gradient")
        beside = "" if ours is None or r is ours else between(ratios(r["cpu"], ours["cpu"]))
        times = between([1e3 * v for v in r["cpu"]])
        cells.append((f"{r['solver']} {r['scheme']}", r["task"], times, cost, beside))
    if not cells:
        return []
    head = ("solver", "what", "CPU, ms per step", "all / forward alone", "it / ours")
    return [f"### {steps} steps at 256^2, forward and backward", table(head, cells)]


def _compiled(rows: list[dict[str, Any]]) -> list[str]:
    timed = [r for r in rows if r["task"] in HEADINGS]
    cells = []
    for solver in dict.fromkeys(r["solver"] for r in timed):
        for task in HEADINGS:
            mine = [r for r in timed if (r["solver"], r["task"]) == (solver, task)]
            if mine:
                whole = [r["build"] + r["first"] for r in mine]
                busiest = f"{100 * min(r['busiest'] for r in mine):.0f} %"
                cells.append((solver, task, between(whole), busiest))
    if not cells:
        return []
    note = (
        "CPU seconds to build, compile and run the first time, over sizes and schemes; and the "
        "smallest share that one thread had in the CPU time of its process: 100 % is one thread. "
        "XLA has one thread for work beside the calling one, and both count as CPU time."
    )
    head = ("solver", "what", "compilation and first run, s", "busiest thread")
    return ["### Left out of the times", note, table(head, cells)]


def tables(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    protocol, timings = results["protocol"], results["timings"]
    parts = [*_aims(results), *_solvers(results["solvers"])]
    parts += [*_agreement(results["agreement"], results["cases"])]
    parts += _times(timings, "forward", protocol["steps"]) + _bound(timings)
    parts += _times(timings, "gradient", protocol["steps"])
    parts += _long(results["long"], protocol["long_steps"]) + _memory(results["memory"])
    parts += _compiled(timings)
    if results["failed"]:
        parts += ["### Left out", table(("what", "why"), list(results["failed"].items()))]
    return "\n\n".join(parts)


def render(results: dict[str, Any]) -> str:
    """The whole of RESULTS_FLUIDS.md."""
    protocol = PROTOCOL.format(**results["protocol"])
    return "\n\n".join([heading(results, NUMBERS), protocol, tables(results)]) + "\n"


def write(folder: Path, results: dict[str, Any]) -> None:
    """Write results_fluids.json and RESULTS_FLUIDS.md."""
    (folder / NUMBERS).write_text(json.dumps(results, indent=1) + "\n")
    (folder / TEXT).write_text(render(results))
