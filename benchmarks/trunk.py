"""The trunk beside MACE and TensorNet: energies and forces, training step, memory, start-up.

Every model runs in a process of its own, on the same structures and the same cutoff. Neighbour
lists are left out of the training step and of inference, and are measured on their own as the
task `graph`.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import peers
import startup
import systems
from processes import PeerError, Worker
from selection import chosen
from turns import say, take_turns

from sfm.errors import SfmError

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
    "sfm-tiny compiled": Entry("sfm_model", "tiny-compiled", ("infer",)),
    "sfm-small": Entry("sfm_model", "small", ALL),
    "sfm-small dense": Entry("sfm_model", "small-dense", ("infer",)),
    "mace": Entry("mace", "128x0e", ALL, peer="mace"),
    "tensornet": Entry("tensornet", "default", ALL, peer="tensornet"),
}
TASKS = (*ALL, "memory", "startup")
NAMES = ("trunk", *MODELS, *systems.WORKLOADS, *TASKS)


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

    @property
    def measured(self) -> bool:
        """Whether there is anything to write."""
        return any(self.results[part] for part in ("timings", "memory", "startup"))

    def fail(self, name: str, reason: object) -> None:
        say(f"  {name} is left out: {reason}")
        self.results["failed"][name] = str(reason)

    @contextmanager
    def started(self, name: str, workload: Path) -> Iterator[Worker | None]:
        """The process of a model; None, and noted, where it cannot be started."""
        entry, options = MODELS[name], self.options
        worker = None
        if name not in self.results["failed"]:
            settings = ("--device", options.device, "--threads", options.threads)
            try:
                worker = Worker(
                    entry.python(),
                    "worker.py",
                    entry.module,
                    entry.variant,
                    workload,
                    *settings,
                    threads=options.threads,
                )
            except PeerError as error:
                self.fail(name, error)
        try:
            yield worker
        finally:
            if worker is not None:
                worker.close()

    def workload(self, name: str, folder: Path) -> None:
        """Time and weigh all models on one workload."""
        try:
            workload = systems.WORKLOADS[name]()
        except SfmError as error:
            self.fail(name, error)
            return
        path = folder / f"{name}.npz"
        systems.save(path, workload)
        say(f"{workload.summary}: {workload.n_atoms} atoms")
        facts: dict[str, Any] = {"summary": workload.summary, "atoms": workload.n_atoms}
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for model in self.models:
                worker = stack.enter_context(self.started(model, path))
                if worker is None:
                    continue
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
                try:
                    warmed = worker.ask("warm", task=task, steps=WARM_STEPS, seconds=BLOCK_SECONDS)
                    steps[model] = warmed["steps"]
                except PeerError as error:
                    self.fail(f"{model}, {task}, {name}", error)
        blocks = {
            model: lambda m=model, n=n: workers[m].ask("time", task=task, steps=n)
            for model, n in steps.items()
        }
        times = take_turns(
            f"{name}, {task}",
            blocks,
            self.rounds,
            lambda model, error: self.fail(f"{model}, {task}, {name}", error),
        )
        for model, lists in times.items():
            row = {"workload": name, "task": task, "model": model, "steps": steps[model]}
            per_atom = {c: [v / n_atoms * 1e6 for v in values] for c, values in lists.items()}
            self.results["timings"].append({**row, **per_atom})

    def weigh(self, name: str, task: str, path: Path) -> None:
        """Peak memory, each in a fresh process."""
        for model in (m for m in self.models if task in MODELS[m].tasks):
            with self.started(model, path) as worker:
                if worker is None:
                    continue
                label = f"{model}, memory of {task}, {name}"
                say(f"  {label}")
                try:
                    weight = worker.ask("memory", task=task, steps=MEMORY_STEPS)
                except PeerError as error:
                    self.fail(label, error)
                    continue
                row = {"workload": name, "task": task, "model": model}
                self.results["memory"].append({**row, **weight})

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
