"""One measuring process of the fluids benchmark: one solver and one case.

It runs in the environment of its solver, so it needs no more than numpy and that solver. Between
requests (see `serving.py`) it sleeps, so that processes can take turns.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import time
from pathlib import Path
from typing import Any

import flow_case
import numpy as np
import serving
from solvers.base import Solver, Work


def busy() -> dict[str, int]:
    """Nanoseconds that each thread of this process has run."""
    nanoseconds = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            nanoseconds[task.name] = int((task / "schedstat").read_text().split()[0])
        except OSError:  # the thread has ended
            continue
    return nanoseconds


class Bench:
    """A solver, and what it has been made ready for."""

    def __init__(self, solver: Solver) -> None:
        self.solver = solver
        self.ready: dict[tuple[str, str], Work] = {}

    def describe(self) -> dict[str, Any]:
        return {
            "packages": serving.packages(self.solver.packages),
            "schemes": self.solver.schemes,
        }

    # ---------------------------------------------------------------- requests

    def prepare(self, scheme: str, task: str) -> dict[str, Any]:
        """Build and compile; seconds of it, and of the first call."""
        cpu, wall = time.process_time(), time.perf_counter()
        if task in ("forward", "gradient"):
            work = getattr(self.solver, task)(scheme)
        else:
            work = self.solver.kept(scheme, task)
            if work is None:
                raise ValueError(f"no task '{task}'")
        built = time.process_time() - cpu
        work()
        self.ready[scheme, task] = work
        total = time.process_time() - cpu
        return {"build": built, "first": total - built, "wall": time.perf_counter() - wall}

    def result(self, scheme: str, task: str, path: str) -> dict[str, Any]:
        """Save what the work returns, as (N, N) with axes (y, x)."""
        array = self.solver.array(self.ready[scheme, task]())
        np.save(path, array)
        return {"dtype": str(array.dtype), "finite": bool(np.isfinite(array).all())}

    def reference(self, path: str) -> dict[str, Any]:
        """Save the solution to compare all with; ours only."""
        np.save(path, self.solver.reference())  # type: ignore[attr-defined]
        return {}

    def warm(self, scheme: str, task: str, seconds: float) -> dict[str, Any]:
        """How many calls fill a block of `seconds`, and the share of its busiest thread."""
        work = self.ready[scheme, task]
        # a busy machine stretches the wall clock, so the CPU's is asked
        start = time.process_time()
        work()
        last = time.process_time() - start
        calls = max(1, round(seconds / max(last, 1e-6)))
        before = busy()
        for _ in range(max(2, calls // 2)):
            work()
        spent = [after - before.get(name, 0) for name, after in busy().items()]
        return {"calls": calls, "busiest": max(spent) / max(sum(spent), 1)}

    def time(self, scheme: str, task: str, calls: int) -> dict[str, Any]:
        """Seconds per time step: of the wall clock, and of all threads of this process."""
        work = self.ready[scheme, task]
        gc.collect()
        gc.disable()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        gc.enable()
        count = calls * self.solver.case.steps
        return {"cpu": cpu / count, "wall": wall / count}

    def memory(self, scheme: str, task: str) -> dict[str, Any]:
        """Peak of one call and its rise above what was there before, in MiB.

        The call is compiled and run for the first time here, in a fresh process; compilation is
        over before the peak is reset.
        """
        if task in ("forward", "gradient"):
            work = getattr(self.solver, task)(scheme)
        else:
            work = self.solver.kept(scheme, task)
        assert work is not None
        serving.reset_peak()
        before = serving.resident()
        work()
        peak = serving.peak()
        return {"peak": peak, "rise": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("case", type=Path)
    options = parser.parse_args()

    def start() -> tuple[Bench, dict[str, Any]]:
        module = importlib.import_module(f"solvers.{options.module}")
        bench = Bench(module.build(flow_case.load(options.case)))
        return bench, bench.describe()

    serving.serve(start)


if __name__ == "__main__":
    assert os.environ.get("OMP_NUM_THREADS"), "started by run.py, which sets the threads"
    main()
