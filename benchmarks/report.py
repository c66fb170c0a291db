"""From measured lists to ratios, tables and files; what is said here is of the trunk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import startup

OURS = "sfm"
TEXT, NUMBERS = "RESULTS.md", "results.json"
HEADINGS = {
    "train": "Training step: loss on energies and forces, gradients of all parameters",
    "infer": "Inference: energies and forces",
    "graph": "Neighbour list and batch, left out above",
}
PROTOCOL = (
    "Random weights, float32, `{device}`, {threads} thread. Every model has a process of its own; "
    "the processes take turns, forwards and backwards, {rounds} times, each turn a block of about "
    "{block_seconds} s after one step that is not counted. A ratio is peer / ours within a turn, "
    "so more than 1 means that ours is faster; given as min - **median** - max over the turns. "
    "CPU is the time of all threads of the process, wall the time that passed. No optimiser step "
    "for any model. In inference the parameters need no gradient for any model, and no model is "
    "compiled by us (mace-torch's own layers are TorchScript, as it ships them) but the one that "
    "says so, by our kernels in C. The mixture form "
    "of sfm is what is trained; `dense` is the same model collapsed to one encoder and level, "
    "which is what inference uses. Same structures, cutoff {cutoff} angstrom, and the same edges, "
    "counted below. All processes keep freed memory (glibc's thresholds, as sfm's training sets "
    "them). Load of the machine before and after: {load_before} and {load_after}."
)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Minimum, median, maximum."""
    return min(values), median(values), max(values)


def ratios(peer: Sequence[float], ours: Sequence[float]) -> list[float]:
    """Peer / ours, turn by turn."""
    return [p / o for p, o in zip(peer, ours, strict=True)]


def figures(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def between(values: Sequence[float]) -> str:
    low, middle, high = (figures(v) for v in spread(values))
    return f"{low} - **{middle}** - {high}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def opening(title: str, results: dict[str, Any], protocol: str) -> list[str]:
    """Title, date, processor, versions of the engines' packages, and how it was measured."""
    versions: dict[str, dict[str, str]] = {}  # in their order; engines may differ in one
    for engine in results["engines"].values():
        for name, number in engine["packages"].items():
            versions.setdefault(name, {})[number.partition("+")[0]] = number
    return [
        f"# {title}",
        f"{results['date']}; {results['machine']['processor']}; "
        + ", ".join(
            f"{name} {' and '.join(numbers.values())}" for name, numbers in versions.items()
        ),
        protocol.format(**results["protocol"]),
    ]


def _is_ours(name: str) -> bool:
    return name.startswith(OURS)


def _times(rows: list[dict[str, Any]], task: str, workloads: dict[str, Any]) -> list[str]:
    """A table of times and a table of ratios for one task."""
    mine = [r for r in rows if r["task"] == task]
    if not mine:
        return []
    times = [(r["workload"], r["model"], between(r["cpu"]), between(r["wall"])) for r in mine]
    head = ("workload", "model", "CPU, us per atom", "wall, us per atom")
    parts = [f"### {HEADINGS[task]}", table(head, times)]
    compared = []
    for name in workloads:
        here = [r for r in mine if r["workload"] == name]
        for peer in (r for r in here if not _is_ours(r["model"])):
            for ours in (r for r in here if _is_ours(r["model"])):
                cpu, wall = ratios(peer["cpu"], ours["cpu"]), ratios(peer["wall"], ours["wall"])
                label = f"{peer['model']} / {ours['model']}"
                compared.append((name, label, between(cpu), between(wall)))
    if compared:
        parts.append(table(("workload", "ratio", "CPU", "wall"), compared))
    return parts


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    cells = []
    for r in rows:
        same = [x for x in rows if (x["workload"], x["task"]) == (r["workload"], r["task"])]
        compared = [
            f"{x['model']} / it {x['rise'] / max(r['rise'], 1e-9):.2g}"
            for x in same
            if _is_ours(r["model"]) and not _is_ours(x["model"])
        ]
        cells.append(
            (
                r["workload"],
                r["task"],
                r["model"],
                f"{r['peak']:.0f}",
                f"{r['rise']:.0f}",
                ", ".join(compared),
            )
        )
    head = ("workload", "task", "model", "peak, MiB", "rise, MiB", "ratio of the rises")
    note = (
        "Peak of a fresh process (`ru_maxrss`; on a GPU, of its allocator), and its rise above "
        "what the process held before its first step: the packages, the model, the batch."
    )
    return ["### Peak memory", note, table(head, cells)]


def _startup(times: dict[str, dict[str, list[float]]]) -> list[str]:
    if not times:
        return []
    base = times[startup.BASE]
    rows = []
    for name, lists in times.items():
        compared = [
            "" if name == startup.BASE else between(ratios(lists[c], base[c]))
            for c in ("cpu", "wall")
        ]
        milliseconds = [between([1000 * v for v in lists[c]]) for c in ("cpu", "wall")]
        rows.append((f"`{name}`", *milliseconds, *compared))
    head = ("command", "CPU, ms", "wall, ms", "CPU / base", "wall / base")
    return [f"### Start-up of the command line (base: `{startup.BASE}`)", table(head, rows)]


def _models(models: dict[str, dict[str, Any]]) -> list[str]:
    if not models:
        return []
    rows = [
        (
            name,
            f"{m['parameters']:,}",
            ", ".join(m["dtypes"]),
            ", ".join(f"{k} {v}" for k, v in m["packages"].items()),
            "; ".join(f"{k}={v}" for k, v in m["settings"].items()),
        )
        for name, m in models.items()
    ]
    return ["### Models", table(("model", "parameters", "dtype", "versions", "settings"), rows)]


def _workloads(workloads: dict[str, dict[str, Any]]) -> list[str]:
    if not workloads:
        return []
    rows = [
        (
            name,
            w["summary"],
            w["atoms"],
            ", ".join(str(n) for n in sorted(set(w.get("edges", {}).values()))),
        )
        for name, w in workloads.items()
    ]
    head = ("workload", "what", "atoms", "edges, the same in all models unless two are given")
    return ["### Workloads", table(head, rows)]


def tables(results: dict[str, Any]) -> str:
    """All tables as Markdown."""
    parts = [*_models(results["models"]), *_workloads(results["workloads"])]
    for task in HEADINGS:
        parts += _times(results["timings"], task, results["workloads"])
    parts += _memory(results["memory"]) + _startup(results["startup"])
    if results["failed"]:
        rows = list(results["failed"].items())
        parts += ["### Left out", table(("what", "why"), rows)]
    return "\n\n".join(parts)


def heading(results: dict[str, Any], numbers: str) -> str:
    """When, on what, and where the numbers of every turn are."""
    m = results["machine"]
    return (
        f"# Measured on {results['date']}\n\n"
        f"{m['processor']}, {m['cores']} cores, {m['memory_gib']} GiB, {m['system']}, "
        f"Python {m['python']}. Made by `make bench`; the numbers of every turn are in "
        f"`{numbers}`."
    )


def render(results: dict[str, Any]) -> str:
    """The whole of RESULTS.md."""
    head = heading(results, NUMBERS)
    return "\n\n".join([head, PROTOCOL.format(**results["protocol"]), tables(results)]) + "\n"


def write(folder: Path, results: dict[str, Any]) -> None:
    """Write results.json and RESULTS.md."""
    (folder / NUMBERS).write_text(json.dumps(results, indent=1) + "\n")
    (folder / TEXT).write_text(render(results))
