"""Molecular dynamics beside LAMMPS, jax-md, torch-sim and ASE: a Lennard-Jones fluid at constant
energy; our gradient through a trajectory; many relaxations at once beside ASE's loop; our model
beside MACE and SevenNet-0.

Forces on the same rattled atoms are compared first; who differs is left out. Then the engines take
turns. Each peer has an environment of its own (`peers.py`); one that is missing is named.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from contextlib import ExitStack
from typing import Any

import machine
import md_cases
import md_engines
import md_models
import numpy as np
import peers
from processes import PeerError, Worker
from selection import chosen
from turns import say, take_turns

OURS = ("sfm", "sfm float32")
TASKS = ("nve", "gradient", "relax", "models")
BATCHES = md_models.SIZES
NAMES = (
    "md",
    *md_engines.ENGINES,
    *md_models.ENGINES,
    *md_cases.SIZES,
    *BATCHES,
    *TASKS,
)
FORCES = 1e-5  # of the largest; float32 1e-4
VOLUMES = 1e-3  # relative


class Run:
    """One run of all measurements; `results` is what is written."""

    def __init__(self, options: argparse.Namespace) -> None:
        if options.threads != 1:
            say(f"md: every engine has one thread; --threads {options.threads} is not used")
        self.quick, self.only = options.quick, options.only
        self.rounds = options.rounds or (1 if options.quick else 5)
        self.engines = chosen(options.only, tuple(md_engines.ENGINES))
        self.sizes = chosen(options.only, tuple(md_cases.SIZES))
        self.tasks = chosen(options.only, TASKS)
        self.results: dict[str, Any] = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": machine.describe(),
            "protocol": {
                "rounds": self.rounds,
                "cutoff": md_cases.CUTOFF,
                "skin": md_cases.SKIN,
                "dt": md_cases.DT,
                "density": md_cases.DENSITY,
                "load_before": round(machine.load(), 2),
            },
            "engines": {},
            "agreement": {},
            "timings": [],
            "gradient": [],
            "relax": [],
            "models": [],
            "failed": {},
        }

    @property
    def measured(self) -> bool:
        """Whether there is anything to write."""
        return any(self.results[part] for part in ("timings", "gradient", "relax", "models"))

    def __call__(self) -> dict[str, Any]:
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            if {"nve", "gradient"} & set(self.tasks):
                for engine in self.engines:
                    self.start(engine, workers, stack)
                self.compare(workers)
                for size in self.sizes:
                    self.fluid(size, workers)
            if "relax" in self.tasks:
                self.relax(stack)
            if "models" in self.tasks:
                self.models(stack)
        self.results["protocol"]["load_after"] = round(machine.load(), 2)
        return self.results

    def start(self, engine: str, workers: dict[str, Worker], stack: ExitStack) -> None:
        """The process of an engine, if it can be had."""
        try:
            peer = md_models.PEERS.get(engine, engine)
            python = peers.ensure(peer) if peer in peers.REQUIREMENTS else sys.executable
            worker = Worker(python, "md_worker.py", engine)
        except PeerError as error:
            self.fail(engine, error)
            return
        stack.callback(worker.close)
        workers[engine] = worker
        self.results["engines"][engine] = worker.description

    def fail(self, label: str, error: object) -> None:
        say(f"  {label} is left out: {error}")
        self.results["failed"][label] = str(error)

    def compare(self, workers: dict[str, Worker]) -> None:
        """Leaves those out whose forces differ from those of the first."""
        reference = None
        for engine in list(workers):
            try:
                forces = np.array(workers[engine].ask("forces", size="500")["forces"])
            except PeerError as error:
                self.fail(engine, error)
                del workers[engine]
                continue
            reference = forces if reference is None else reference
            apart = float(np.abs(forces - reference).max() / np.abs(reference).max())
            self.results["agreement"][engine] = apart
            if not apart < (1e-4 if "float32" in engine else FORCES):
                self.fail(engine, f"its forces differ by {apart:.1e} of the largest")
                del workers[engine]

    def fluid(self, size: str, workers: dict[str, Worker]) -> None:
        """Seconds a step in turns, and ours with a gradient."""
        steps, seconds = {}, 0.3 if self.quick else 2.0
        for engine, worker in workers.items():
            try:
                steps[engine] = worker.ask("warm", size=size, seconds=seconds)["steps"]
            except PeerError as error:
                self.fail(f"{engine}, {size} atoms", error)
        if "nve" in self.tasks:
            blocks = {
                e: lambda e=e: workers[e].ask("time", size=size, steps=steps[e]) for e in steps
            }
            times = take_turns(
                f"{size} atoms",
                blocks,
                self.rounds,
                lambda e, error: self.fail(f"{e}, {size} atoms", error),
            )
            for engine, values in times.items():
                self.results["timings"].append({"size": size, "engine": engine, **values})
        if "gradient" in self.tasks:
            for engine in (e for e in OURS if e in steps):
                answers = [workers[engine].ask("gradient", size=size) for _ in range(self.rounds)]
                row = {name: [a[name] for a in answers] for name in answers[0]}
                self.results["gradient"].append({"size": size, "engine": engine, **row})

    def models(self, stack: ExitStack) -> None:
        """Learned potentials through torch-sim, in turns."""
        workers: dict[str, Worker] = {}
        for engine in chosen(self.only, tuple(md_models.ENGINES)):
            self.start(engine, workers, stack)
        for size in chosen(self.only, BATCHES):
            self.batch(size, workers)

    def batch(self, size: str, workers: dict[str, Worker]) -> None:
        """Seconds a step of a batch."""
        blocks = {}
        for engine, worker in workers.items():
            try:
                warmed = worker.ask("warm_model", size=size, seconds=0.3 if self.quick else 2)
            except PeerError as error:
                self.fail(f"{engine}, {size}", error)
                continue
            steps = warmed["steps"]
            blocks[engine] = lambda w=worker, n=steps: w.ask("time", size=size, steps=n)
        times = take_turns(
            size, blocks, self.rounds, lambda e, error: self.fail(f"{e}, {size}", error)
        )
        for engine, values in times.items():
            self.results["models"].append({"size": size, "engine": engine, **values})

    def relax(self, stack: ExitStack) -> None:
        """All crystals at once beside one after another."""
        count = 20 if self.quick else md_cases.CRYSTALS
        workers: dict[str, Worker] = {}
        for engine in ("relax batch", "relax loop"):
            self.start(engine, workers, stack)
        if len(workers) < 2:
            return
        try:
            answers = [
                {e: w.ask("relax", count=count) for e, w in workers.items()}
                for _ in range(1 if self.quick else 3)
            ]
        except PeerError as error:
            self.fail("relax", error)
            return
        first = [np.array(answers[0][e]["volumes"]) for e in workers]
        row = {
            "count": count,
            "shown": len(first[1]),
            "volumes": float(np.abs(first[0] / first[1] - 1).max()),
            "batch": [a["relax batch"]["cpu"] for a in answers],
            "loop": [a["relax loop"]["cpu"] for a in answers],
        }
        if not row["volumes"] < VOLUMES:
            self.fail("relax", f"volumes differ by {row['volumes']:.1e}")
            return
        self.results["relax"].append(row)
