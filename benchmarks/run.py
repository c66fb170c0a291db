"""Side-by-side measurements of sfm against peers, in one run: `make bench`.

Every model runs in a process of its own, with one thread, on the same structures and the same
cutoff. The processes take turns, forwards and then backwards (A B C, C B A, ...), so that drift of
the machine cancels in the ratios, which are formed within a turn. Neighbour lists are left out of
the training step and of inference, and are measured on their own as the task `graph`.

    python benchmarks/run.py                                all, writes RESULTS.md and results.json
    python benchmarks/run.py --quick                        fewer turns, for a first look
    python benchmarks/run.py --only sfm-tiny,mace,silicon   some models, workloads or tasks
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import peers
import report
import startup
import systems
from processes import HERE, PeerError, Worker

BLOCK_SECONDS = 0.4
WARM_STEPS = 4
MEMORY_STEPS = 3


@dataclass(frozen=True)
class Entry:
    """A model to measure: module and variant for the worker, and the tasks that make sense."""

    module: str
    variant: str
    tasks: tuple[str, ...]
    peer: str | None = None

    def python(self) -> Path | str:
        return sys.executable if self.peer is None else peers.ensure(self.peer)


ALL = ("train", "infer", "graph")
MODELS: dict[str, Entry] = {
    "sfm-tiny": Entry("sfm_model", "tiny", ALL),
    "sfm-tiny dense": Entry("sfm_model", "tiny-dense", ("infer",)),
    "sfm-small": Entry("sfm_model", "small", ALL),
    "sfm-small dense": Entry("sfm_model", "small-dense", ("infer",)),
    "mace": Entry("mace", "128x0e", ALL, peer="mace"),
    "tensornet": Entry("tensornet", "default", ALL, peer="tensornet"),
}
TASKS = (*ALL, "memory", "startup")


def say(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


def chosen(only: str | None, names: tuple[str, ...]) -> list[str]:
    """Those of `names` that `--only` names; all if it names none of this kind."""
    wanted = [w.strip() for w in (only or "").split(",") if w.strip()]
    picked = [n for n in names if any(n == w or n.startswith(f"{w} ") for w in wanted)]
    return picked or list(names)


def check_names(only: str | None) -> None:
    """End with exit code 2 if `--only` names nothing that exists."""
    known = {*MODELS, *systems.WORKLOADS, *TASKS}
    for word in (w.strip() for w in (only or "").split(",")):
        if word and word not in known:
            say(f"--only: '{word}' is none of {', '.join(sorted(known))}")
            raise SystemExit(2)


class Run:
    """One run of all measurements; `results` is what is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rounds = options.rounds or (3 if options.quick else 11)
        self.tasks = chosen(options.only, TASKS)
        self.models = chosen(options.only, tuple(MODELS))
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine.describe(),
            "protocol": {
                "threads": options.threads,
                "device": options.device,
                "rounds": self.rounds,
                "block_seconds": BLOCK_SECONDS,
                "warm_steps": WARM_STEPS,
                "cutoff": systems.CUTOFF,
                "load_before": round(machine.load(), 2),
            },
            "models": {},
            "workloads": {},
            "timings": [],
            "memory": [],
            "startup": {},
            "failed": {},
        }

    def fail(self, name: str, reason: object) -> None:
        say(f"  {name} is left out: {reason}")
        self.results["failed"][name] = str(reason)

    def worker(self, name: str, workload: Path) -> Worker:
        entry, options = MODELS[name], self.options
        return Worker(
            entry.python(),
            entry.module,
            entry.variant,
            workload,
            device=options.device,
            threads=options.threads,
        )

    def workload(self, name: str, folder: Path) -> None:
        """Time and weigh all models on one workload."""
        workload = systems.WORKLOADS[name]()
        path = folder / f"{name}.npz"
        systems.save(path, workload)
        say(f"{workload.summary}: {workload.n_atoms} atoms")
        facts: dict[str, Any] = {"summary": workload.summary, "atoms": workload.n_atoms}
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for model in self.models:
                if model in self.results["failed"]:
                    continue
                try:
                    worker = self.worker(model, path)
                except PeerError as error:
                    self.fail(model, error)
                    continue
                stack.callback(worker.close)
                workers[model] = worker
                said = dict(worker.description)
                facts.setdefault("edges", {})[model] = said.pop("edges")
                said.pop("atoms")
                self.results["models"][model] = said
            self.results["workloads"][name] = facts
            for task in (t for t in self.tasks if t in ALL):
                self.time(name, task, workers, workload.n_atoms)
        if "memory" in self.tasks:
            for task in chosen(self.options.only, ("train", "infer")):
                self.weigh(name, task, path)

    def time(self, name: str, task: str, workers: dict[str, Worker], n_atoms: int) -> None:
        """All models that do this task take turns; microseconds per atom."""
        steps: dict[str, int] = {}
        for model, worker in workers.items():
            if task in MODELS[model].tasks:
                warmed = self._try(
                    f"{model}, {task}, {name}",
                    worker,
                    "warm",
                    task=task,
                    steps=WARM_STEPS,
                    seconds=BLOCK_SECONDS,
                )
                if warmed:
                    steps[model] = warmed["steps"]
        times: dict[str, dict[str, list[float]]] = {m: {"cpu": [], "wall": []} for m in steps}
        for turn in self.progress(f"{name}, {task}"):
            for model in list(steps) if turn % 2 == 0 else list(reversed(steps)):
                block = workers[model].ask("time", task=task, steps=steps[model])
                for clock, values in times[model].items():
                    values.append(block[clock] / n_atoms * 1e6)
        for model, lists in times.items():
            row = {"workload": name, "task": task, "model": model, "steps": steps[model]}
            self.results["timings"].append({**row, **lists})

    def weigh(self, name: str, task: str, path: Path) -> None:
        """Peak memory, each in a fresh process."""
        for model in self.models:
            if model in self.results["failed"] or task not in MODELS[model].tasks:
                continue
            try:
                worker = self.worker(model, path)
            except PeerError as error:
                self.fail(model, error)
                continue
            with ExitStack() as stack:
                stack.callback(worker.close)
                label = f"{model}, memory of {task}, {name}"
                say(f"  {label}")
                weight = self._try(label, worker, "memory", task=task, steps=MEMORY_STEPS)
                if weight:
                    row = {"workload": name, "task": task, "model": model}
                    self.results["memory"].append({**row, **weight})

    def progress(self, label: str) -> Iterator[int]:
        for turn in range(self.rounds):
            say(f"  {label}: turn {turn + 1} of {self.rounds}")
            yield turn

    def _try(
        self, label: str, worker: Worker, request: str, **arguments: Any
    ) -> dict[str, Any] | None:
        try:
            return worker.ask(request, **arguments)
        except PeerError as error:
            self.fail(label, error)
            return None

    def __call__(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            if set(self.tasks) - {"startup"}:
                for name in chosen(self.options.only, tuple(systems.WORKLOADS)):
                    self.workload(name, Path(folder))
        if "startup" in self.tasks:
            say("start-up of the command line")
            times, failed = startup.measure(2 * self.rounds)
            self.results["startup"] = times
            for command, reason in failed.items():
                self.fail(command, reason)
        self.results["protocol"]["load_after"] = round(machine.load(), 2)
        return self.results


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 turns instead of 11")
    parser.add_argument("--rounds", type=int, help="number of turns")
    parser.add_argument("--only", help="models, workloads or tasks, separated by commas")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (peers need a CUDA torch)")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the results")
    options = parser.parse_args(argv)
    check_names(options.only)
    results = Run(options)()
    options.output.mkdir(parents=True, exist_ok=True)
    report.write(options.output, results)
    print(report.tables(results))
    say(f"written: {options.output / 'RESULTS.md'}, {options.output / 'results.json'}")
    return 0 if results["timings"] or results["memory"] or results["startup"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
