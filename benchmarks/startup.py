"""Start-up time of the command line against that of Python itself."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

from processes import environment

BASE = "python -c pass"
BIN = Path(sys.executable).parent
COMMANDS: dict[str, tuple[str, ...]] = {
    BASE: (sys.executable, "-c", "pass"),
    "sfm --help": (str(BIN / "sfm"), "--help"),
    "python -m sfm --help": (sys.executable, "-m", "sfm", "--help"),
    "sfm plugin list": (str(BIN / "sfm"), "plugin", "list"),
    "python -c import torch": (sys.executable, "-c", "import torch"),
    "sfm predict sfm-tiny CCO": (str(BIN / "sfm"), "predict", "sfm-tiny", "CCO"),
    "sfm dataset list": (str(BIN / "sfm"), "dataset", "list"),
}


def _once(command: tuple[str, ...]) -> tuple[float, float]:
    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before, start = cpu(), time.perf_counter()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    wall = time.perf_counter() - start
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(f"exit code {done.returncode}: {lines[-1]}")
    return wall, cpu() - before


def measure(rounds: int) -> tuple[dict[str, dict[str, list[float]]], dict[str, str]]:
    """Seconds of each command, taken in turns, and why some could not be run."""
    times: dict[str, dict[str, list[float]]] = {}
    failed: dict[str, str] = {}
    for name, command in COMMANDS.items():
        try:
            _once(command)  # fills the caches
            times[name] = {"wall": [], "cpu": []}
        except (OSError, RuntimeError) as error:
            failed[name] = str(error)
    for _ in range(rounds):
        for name, lists in times.items():
            wall, cpu = _once(COMMANDS[name])
            lists["wall"].append(wall)
            lists["cpu"].append(cpu)
    return times, failed
