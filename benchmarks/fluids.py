"""`fluids/navier-stokes-2d` beside Exponax, jax-cfd and torch-cfd, on the flow of `flow_case.py`.

At each size the solutions and their gradients are compared first, with each other and with a finer
solution in float64; who differs is left out. Then forward, and forward with backward, take turns.
In the same turns run the transforms that ours needs and nothing else: the bound of its speed.
Last, 1,000 steps backward at 256^2, in time and in memory.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flow_case
import machine
import numpy as np
import peers
from processes import PeerError, Worker
from selection import chosen
from turns import say, take_turns

OURS, COMPILED = "sfm", "sfm-compiled"
BLOCK_SECONDS = 0.4
TOLERANCE = 1e-3  # of the relative difference between two solutions
LONG_SIZE, LONG_STEPS, LONG_ROUNDS = 256, 1000, 3
BOUNDS = ("transforms", "whole transforms")


@dataclass(frozen=True)
class Entry:
    """A solver: its module, its methods, and for each the one of ours that does equal work."""

    module: str
    equal: dict[str, str]
    peer: str | None = None
    largest: int = 10**9  # points along a side

    def python(self) -> Path | str:
        return sys.executable if self.peer is None else peers.ensure(self.peer)


SAME = {"etdrk2": "etdrk2", "etdrk4": "etdrk4"}
SOLVERS: dict[str, Entry] = {
    OURS: Entry("sfm_solver", SAME),
    COMPILED: Entry("sfm_compiled_solver", SAME, largest=64),
    "exponax": Entry("exponax_solver", SAME, peer="exponax"),
    "jax-cfd": Entry("jax_cfd_solver", {"cnrk4": "etdrk4"}, peer="jax-cfd"),
    "torch-cfd": Entry("torch_cfd_solver", {"cnrk4": "etdrk4"}, peer="torch-cfd"),
}
# what is done in the long run: solver -> (scheme, task that is forward, task that is backward)
LONG = {
    OURS: ("etdrk4", "forward", "gradient"),
    "exponax": ("etdrk4", "forward", "recomputed gradient"),
}
TASKS = ("forward", "gradient", "memory", "long")
SIZES = tuple(str(n) for n in flow_case.SIZES)
NAMES = ("fluids", *SOLVERS, *SIZES, *TASKS)
Job = tuple[str, str, str]  # solver, scheme, task


class Run:
    """One run of all measurements; `results` is what is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rounds = options.rounds or (3 if options.quick else 11)
        self.solvers = chosen(options.only, tuple(SOLVERS))
        if OURS not in self.solvers:
            self.solvers.insert(0, OURS)  # all are compared with ours
        self.tasks = chosen(options.only, TASKS)
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine.describe(),
            "protocol": {
                "threads": options.threads,
                "rounds": self.rounds,
                "block_seconds": BLOCK_SECONDS,
                "steps": flow_case.STEPS,
                "tolerance": TOLERANCE,
                "long_size": LONG_SIZE,
                "long_steps": LONG_STEPS,
                "load_before": round(machine.load(), 2),
            },
            "cases": {},
            "solvers": {},
            "agreement": [],
            "timings": [],
            "memory": [],
            "long": [],
            "failed": {},
        }

    @property
    def measured(self) -> bool:
        """Whether there is anything to write."""
        return any(self.results[part] for part in ("timings", "memory", "long"))

    def fail(self, name: str, reason: object) -> None:
        say(f"  {name} is left out: {reason}")
        self.results["failed"][name] = str(reason)

    @contextmanager
    def started(self, solver: str, case: Path) -> Iterator[Worker | None]:
        """The process of a solver; None, and noted, where it cannot be started."""
        entry, worker = SOLVERS[solver], None
        if solver not in self.results["failed"]:
            try:
                python, threads = entry.python(), self.options.threads
                worker = Worker(python, "fluids_worker.py", entry.module, case, threads=threads)
                self.results["solvers"][solver] = worker.description
            except PeerError as error:
                self.fail(solver, error)
        try:
            yield worker
        finally:
            if worker is not None:
                worker.close()

    def asked(self, label: str, worker: Worker, request: str, **arguments: Any) -> Any:
        """The answer; None, and noted, where there is none."""
        try:
            return worker.ask(request, **arguments)
        except PeerError as error:
            self.fail(label, error)
            return None

    # ---------------------------------------------------------------- one size

    def size(self, size: int, folder: Path) -> None:
        """Compare and time all solvers on one grid."""
        case = flow_case.make(size)
        path = folder / f"{size}.npz"
        flow_case.save(path, case)
        say(f"{size} x {size}: {case.summary}")
        self.results["cases"][str(size)] = case.summary
        tasks = [t for t in self.tasks if t in ("forward", "gradient")]
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            for solver in (s for s in self.solvers if size <= SOLVERS[s].largest):
                worker = stack.enter_context(self.started(solver, path))
                if worker is not None:
                    workers[solver] = worker
            if OURS not in workers:
                return
            ready: dict[Job, dict[str, Any]] = {}
            for solver, worker in workers.items():
                for scheme in SOLVERS[solver].equal:
                    for task in tasks:
                        label = f"{solver} {scheme}, {task}, {size}^2"
                        prepared = self.asked(label, worker, "prepare", scheme=scheme, task=task)
                        if prepared:
                            ready[solver, scheme, task] = prepared
            self.compare(size, folder, workers, ready)
            for task in tasks:
                jobs = {job: prepared for job, prepared in ready.items() if job[2] == task}
                if task == "forward":
                    for bound in BOUNDS:
                        prepared = self.asked(
                            bound, workers[OURS], "prepare", scheme="etdrk4", task=bound
                        )
                        if prepared:
                            jobs[OURS, "etdrk4", bound] = prepared
                self.time(size, task, workers, jobs)
        if "memory" in self.tasks and size == LONG_SIZE:
            for solver in (s for s in self.solvers if size <= SOLVERS[s].largest):
                for scheme in SOLVERS[solver].equal:
                    self.weigh(solver, scheme, "gradient", path, "memory", steps=case.steps)

    def compare(
        self,
        size: int,
        folder: Path,
        workers: dict[str, Worker],
        ready: dict[Job, dict[str, Any]],
    ) -> None:
        """Relative differences from ours, and errors; drops from `ready` who solves another flow.

        With no answer to compare with there is no agreement, and a job without it is not timed.
        """
        truth = self.array("reference", workers[OURS], folder, "reference")
        arrays: dict[Job, np.ndarray] = {}
        for job in list(ready):
            solver, scheme, task = job
            label = f"{solver} {scheme}, {task}, {size}^2"
            states = self.array(label, workers[solver], folder, "result", scheme=scheme, task=task)
            if states is not None:
                arrays[job] = states
        for job in list(ready):
            solver, scheme, task = job
            equal = (OURS, SOLVERS[solver].equal[scheme], task)
            row = {"size": size, "solver": solver, "scheme": scheme, "task": task}
            if job not in arrays or equal not in arrays:
                del ready[job]
                continue
            row["difference"] = distance(arrays[job], arrays[equal])
            if task == "forward" and truth is not None:
                row["error"] = distance(arrays[job], truth)
            self.results["agreement"].append(row)
            if not row["difference"] <= TOLERANCE:
                self.fail(
                    f"{solver} {scheme}, {task}, {size}^2",
                    f"it differs from ours by {row['difference']:.2g}: other work",
                )
                del ready[job]

    def array(
        self, label: str, worker: Worker, folder: Path, request: str, **arguments: Any
    ) -> np.ndarray | None:
        path = folder / "array.npy"
        if self.asked(label, worker, request, path=str(path), **arguments) is None:
            return None
        return np.load(path).astype(float)

    def time(
        self,
        size: int,
        task: str,
        workers: dict[str, Worker],
        jobs: dict[Job, dict[str, Any]],
        rounds: int | None = None,
        into: str = "timings",
    ) -> None:
        """All jobs take turns; seconds per step."""

        def named(job: Job) -> str:
            return f"{job[0]} {job[1]}, {job[2]}, {size}^2"

        warmed: dict[Job, dict[str, Any]] = {}
        for job in jobs:
            if into == "long":  # long enough as it is, and `prepare` has run it once
                warmed[job] = {"calls": 1}
                continue
            solver, scheme, kind = job
            asked = {"scheme": scheme, "task": kind, "seconds": BLOCK_SECONDS}
            warm = self.asked(named(job), workers[solver], "warm", **asked)
            if warm:
                warmed[job] = warm

        def block(job: Job, calls: int) -> Callable[[], dict[str, Any]]:
            solver, scheme, kind = job
            return lambda: workers[solver].ask("time", scheme=scheme, task=kind, calls=calls)

        times = take_turns(
            f"{size}^2, {task}",
            {job: block(job, warm["calls"]) for job, warm in warmed.items()},
            rounds or self.rounds,
            lambda job, error: self.fail(named(job), error),
        )
        for job, lists in times.items():
            solver, scheme, kind = job
            row = {"size": size, "solver": solver, "scheme": scheme, "task": kind}
            self.results[into].append({**row, **warmed[job], **jobs[job], **lists})

    # ---------------------------------------------------------------- memory and long runs

    def weigh(
        self, solver: str, scheme: str, task: str, path: Path, into: str, **facts: Any
    ) -> None:
        """Peak memory of one call, in a fresh process."""
        label = f"{solver} {scheme}, memory of {task}, {path.stem}"
        with self.started(solver, path) as worker:
            if worker is None:
                return
            say(f"  {label}")
            weight = self.asked(label, worker, "memory", scheme=scheme, task=task)
            if weight:
                row = {"solver": solver, "scheme": scheme, "task": task, **facts}
                self.results[into].append({**row, **weight})

    def long(self, folder: Path) -> None:
        """Many steps, forward and backward: time and memory of those that keep few states."""
        path = folder / "long.npz"
        flow_case.save(path, flow_case.make(LONG_SIZE, LONG_STEPS))
        say(f"{LONG_STEPS} steps at {LONG_SIZE} x {LONG_SIZE}")
        entries = {s: LONG[s] for s in self.solvers if s in LONG}
        for solver, (scheme, _, backward) in entries.items():
            self.weigh(solver, scheme, backward, path, "memory", steps=LONG_STEPS)
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            jobs: dict[Job, dict[str, Any]] = {}
            for solver, (scheme, *both) in entries.items():
                worker = stack.enter_context(self.started(solver, path))
                if worker is None:
                    continue
                workers[solver] = worker
                for task in both:
                    label = f"{solver} {scheme}, {task}, {LONG_STEPS} steps"
                    prepared = self.asked(label, worker, "prepare", scheme=scheme, task=task)
                    if prepared:
                        jobs[solver, scheme, task] = prepared
            self.time(LONG_SIZE, "long", workers, jobs, min(LONG_ROUNDS, self.rounds), "long")

    def __call__(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            if set(self.tasks) - {"long"}:
                for size in chosen(self.options.only, SIZES):
                    self.size(int(size), Path(folder))
            if "long" in self.tasks:
                self.long(Path(folder))
        self.results["protocol"]["load_after"] = round(machine.load(), 2)
        return self.results


def distance(field: np.ndarray, reference: np.ndarray) -> float:
    """Relative difference in the root mean square."""
    return float(np.linalg.norm(field - reference) / np.linalg.norm(reference))
