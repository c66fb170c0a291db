"""One measuring process of the dynamics benchmark: an engine of `md_engines.py`, or a relaxation of
`md_relax.py`. Between requests (see `serving.py`) it sleeps, so that processes can take turns."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import md_cases
import md_engines
import md_models
import md_relax
import serving


def _timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the wall clock, and of all threads of this process."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


KINDS = {**md_engines.ENGINES, **md_relax.ENGINES, **md_models.ENGINES}


class Bench:
    """An engine, and what can be asked of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs: dict[str, Any] = {}
        self.kind: Any = KINDS[name]

    def describe(self) -> dict[str, Any]:
        return {"packages": serving.packages(self.kind.packages)}

    def forces(self, size: str) -> dict[str, Any]:
        """Forces on rattled atoms."""
        start = md_cases.fluid(size, rattle=md_engines.RATTLE)
        return {"forces": self.kind(start).forces().tolist()}

    def warm(self, size: str, seconds: float) -> dict[str, Any]:
        """A melted fluid, and how many steps it takes to be busy for `seconds` of CPU time."""
        engine = self.kind(md_cases.fluid(size))
        self.runs[size] = engine
        engine.run(md_cases.WARM_UP)
        spent = _timed(lambda: engine.run(50))["cpu"]
        return {"steps": max(50, 50 * round(seconds / max(spent, 1e-6)))}

    def warm_model(self, size: str, seconds: float) -> dict[str, Any]:
        """A batch that has moved a little, and how many steps take `seconds` of CPU time."""
        engine = self.kind(size)
        self.runs[size] = engine
        engine.run(3)
        spent = _timed(lambda: engine.run(3))["cpu"]
        return {"steps": max(3, round(3 * seconds / max(spent, 1e-6)))}

    def time(self, size: str, steps: int) -> dict[str, float]:
        """Seconds per step."""
        spent = _timed(lambda: self.runs[size].run(steps))
        return {clock: value / steps for clock, value in spent.items()}

    def gradient(self, size: str) -> dict[str, float]:
        """CPU seconds of `GRADIENT_STEPS` steps, without and with their gradient; memory of the
        latter, MiB above what was there before."""
        engine, steps = self.runs[size], md_cases.GRADIENT_STEPS
        engine.gradient(2)  # whatever is loaded on first use
        plain = _timed(lambda: engine.run(steps))["cpu"]
        serving.reset_peak()
        before = serving.resident()
        whole = _timed(lambda: engine.gradient(steps))["cpu"]
        return {"forward": plain, "gradient": whole, "rise": serving.peak() - before}

    def relax(self, count: int) -> dict[str, Any]:
        """Volumes of the first relaxed cells, and seconds for all `count`: of the loop, which goes
        through the first alone, as many times longer as there are more."""
        volumes: list[float] = []
        crystals = md_relax.crystals(count)
        shown = min(count, md_relax.SHOWN)
        given = crystals[:shown] if self.name == "relax loop" else crystals
        self.kind().relax(crystals[:1])  # whatever is loaded on first use
        spent = _timed(lambda: volumes.extend(self.kind().relax(given)))
        more = count / len(given)
        return {"volumes": volumes[:shown], **{k: more * value for k, value in spent.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=tuple(KINDS))
    options = parser.parse_args()

    def start() -> tuple[Bench, dict[str, Any]]:
        bench = Bench(options.engine)
        if any(name == "torch" for name in bench.kind.packages):
            import torch

            torch.set_num_threads(1)
        return bench, bench.describe()

    serving.serve(start)


if __name__ == "__main__":
    main()
