"""`dft/kohn-sham` beside PySCF with density fitting: energies, with forces, with Hessians.

What comes out is compared first; who differs is left out. Both do everything from the
geometry on in each call: integrals, grid, orbitals on it, self-consistency, gradient with moving
grid. Then the calls take turns. Last: whether later calls cost more than the first, and memory.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from contextlib import ExitStack
from typing import Any

import dft_cases
import machine
import numpy as np
from processes import PeerError, Worker
from selection import chosen
from turns import say, take_turns

OURS, PEER = "sfm", "pyscf"
TASKS = ("energy", "forces", "hessian", "calls", "memory")
NAMES = ("dft", *dft_cases.CASES, *TASKS)
ENERGY_TOLERANCE = 1e-6  # hartree an atom; SCF to 1e-6
# hartree/bohr, and hartree/bohr^2, where PySCF holds its grid still
TOLERANCES = {"forces": 2e-5, "hessian": 5e-3}
CALLS = 10


class Run:
    """One run of all measurements; `results` is what is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rounds = options.rounds or (3 if options.quick else 7)
        self.cases = chosen(options.only, tuple(dft_cases.CASES))
        self.tasks = chosen(options.only, TASKS)
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine.describe(),
            "protocol": {
                "threads": options.threads,
                "rounds": self.rounds,
                "basis": dft_cases.BASIS,
                "grid_level": dft_cases.GRID_LEVEL,
                "tolerance": dft_cases.TOLERANCE,
                "load_before": round(machine.load(), 2),
            },
            "engines": {},
            "agreement": [],
            "timings": [],
            "calls": [],
            "memory": [],
            "failed": {},
        }

    @property
    def measured(self) -> bool:
        """Whether there is anything to write."""
        return any(self.results[part] for part in ("timings", "calls", "memory"))

    def __call__(self) -> dict[str, Any]:
        with ExitStack() as stack:
            workers = {}
            for engine in (OURS, PEER):
                threads = self.options.threads
                workers[engine] = Worker(sys.executable, "dft_worker.py", engine, threads=threads)
                stack.callback(workers[engine].close)
                self.results["engines"][engine] = workers[engine].description
            for case in self.cases:
                for task in dft_cases.CASES[case].tasks:
                    if task in self.tasks:
                        self.compare(case, task, workers)
            if "calls" in self.tasks:
                calls = workers[OURS].ask("calls", case="water", task="forces", count=CALLS)
                self.results["calls"].append({"case": "water", "task": "forces", **calls})
        if "memory" in self.tasks:
            for engine in (OURS, PEER):
                self.weigh(engine, "benzene", "forces")
        self.results["protocol"]["load_after"] = round(machine.load(), 2)
        return self.results

    def compare(self, case: str, task: str, workers: dict[str, Worker]) -> None:
        """Agreement of energies and forces, then CPU and wall seconds in turns."""
        label = f"{case}, {task}"
        try:
            answers = {e: w.ask("result", case=case, task=task) for e, w in workers.items()}
        except PeerError as error:
            self.results["failed"][label] = str(error)
            return
        row: dict[str, Any] = {"case": case, "task": task}
        energies = [np.array(answers[e]["energy"]) for e in (OURS, PEER)]
        row["energy"] = float(np.abs(energies[0] - energies[1]).max())
        if task in TOLERANCES:
            found_by = [np.array(answers[e]["derivatives"]) for e in (OURS, PEER)]
            row[task] = float(np.abs(found_by[0] - found_by[1]).max())
        self.results["agreement"].append(row)
        if row["energy"] > ENERGY_TOLERANCE or (
            task in TOLERANCES and row[task] > TOLERANCES[task]
        ):
            self.results["failed"][label] = f"results differ: {row}"
            say(f"  {label} is left out: results differ by {row}")
            return
        calls = {e: max(1, round(2.0 / answers[e]["first"])) for e in answers}
        times = take_turns(
            label,
            {
                e: lambda e=e: workers[e].ask("time", case=case, task=task, calls=calls[e])
                for e in workers
            },
            self.rounds,
            lambda e, error: self.results["failed"].update({f"{e}, {label}": str(error)}),
        )
        for engine, values in times.items():
            self.results["timings"].append({"case": case, "task": task, "engine": engine, **values})

    def weigh(self, engine: str, case: str, task: str) -> None:
        """Memory of a call in a fresh process."""
        threads = self.options.threads
        worker = Worker(sys.executable, "dft_worker.py", engine, threads=threads)
        try:
            memory = worker.ask("memory", case=case, task=task)
            self.results["memory"].append({"case": case, "task": task, "engine": engine, **memory})
        except PeerError as error:
            self.results["failed"][f"{engine}, memory"] = str(error)
        finally:
            worker.close()
