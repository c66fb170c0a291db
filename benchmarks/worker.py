"""One measuring process: builds one model, then times or weighs what it is asked to.

It runs in the environment of its model, so it needs no more than torch, numpy and that model.
Between requests (see `serving.py`) it sleeps, so that processes can take turns.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import serving
import systems
import torch
from serving import MIB

SEED = 7


class Bench:
    """A model, a workload, and one step of every task."""

    def __init__(self, module: str, variant: str, workload: Path, device: str) -> None:
        self.device = torch.device(device)
        self.workload = systems.load(workload)
        torch.manual_seed(SEED)
        self.model = importlib.import_module(f"models.{module}").build(
            variant, self.workload.domain
        )
        self.model.module.to(self.device)
        self.batch = self.model.prepare(self.workload.structures, self.device)
        generator = torch.Generator().manual_seed(SEED)
        n_systems, n_atoms = len(self.workload.structures), self.workload.n_atoms
        self.energy = torch.randn(n_systems, generator=generator).to(self.device)
        self.forces = torch.randn(n_atoms, 3, generator=generator).to(self.device)
        counts = [len(s.numbers) for s in self.workload.structures]
        self.counts = torch.tensor(counts, dtype=torch.float32, device=self.device)

    def train(self) -> None:
        """Loss on energies per atom and on forces -> gradients of all parameters."""
        self.model.module.zero_grad(set_to_none=True)
        energy, forces = self.model.energy_and_forces(self.batch, training=True)
        loss = ((energy - self.energy) / self.counts).square().mean()
        loss = loss + (forces - self.forces).square().mean()
        loss.backward()

    def infer(self) -> None:
        """Energies and forces."""
        energy, forces = self.model.energy_and_forces(self.batch, training=False)
        energy.detach().cpu(), forces.detach().cpu()

    def graph(self) -> None:
        """Structures -> the model's batch, neighbour list included."""
        self.model.prepare(self.workload.structures, self.device)

    def ready(self, task: str) -> Callable[[], None]:
        """The step, with the model in the mode that it needs."""
        training = task == "train"
        self.model.module.train(training)
        self.model.module.requires_grad_(training)
        return getattr(self, task)

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # ---------------------------------------------------------------- requests

    def describe(self) -> dict[str, Any]:
        """Size, settings, versions."""
        parameters = [p for p in self.model.module.parameters() if p.requires_grad]
        return {
            "parameters": sum(p.numel() for p in parameters),
            "dtypes": sorted({str(p.dtype).removeprefix("torch.") for p in parameters}),
            "threads": torch.get_num_threads(),
            "settings": self.model.settings,
            "packages": serving.packages(self.model.packages),
            "atoms": self.workload.n_atoms,
            "edges": self.model.n_edges(self.batch),
        }

    def warm(self, task: str, steps: int, seconds: float) -> dict[str, Any]:
        """Run some steps, and say how many fill a block of `seconds`."""
        step = self.ready(task)
        # a busy machine stretches the wall clock, so the CPU's is asked where it does the work
        clock = time.perf_counter if self.device.type == "cuda" else time.process_time
        for _ in range(steps):
            start = clock()
            step()
            self.synchronise()
            last = clock() - start
        return {"steps": max(1, round(seconds / max(last, 1e-6)))}

    def time(self, task: str, steps: int) -> dict[str, Any]:
        """Seconds per step: of the wall clock, and of all threads of this process."""
        step = self.ready(task)
        step()
        gc.collect()
        gc.disable()
        self.synchronise()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(steps):
            step()
        self.synchronise()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        gc.enable()
        return {"cpu": cpu / steps, "wall": wall / steps}

    def memory(self, task: str, steps: int) -> dict[str, Any]:
        """Peak of a fresh process, and its rise above what was there before the first step."""
        before = serving.resident()
        step = self.ready(task)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device) / MIB
        for _ in range(steps):
            step()
        if self.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device) / MIB
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"peak": peak, "rise": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("variant")
    parser.add_argument("workload", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    def start() -> tuple[Bench, dict[str, Any]]:
        bench = Bench(options.module, options.variant, options.workload, options.device)
        return bench, bench.describe()

    serving.serve(start)


if __name__ == "__main__":
    main()
