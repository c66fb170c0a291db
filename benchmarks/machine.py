"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def _first(path: str, key: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return "unknown"


def describe() -> dict[str, str | int]:
    """Processor, cores, memory, system, Python."""
    memory = _first("/proc/meminfo", "MemTotal").split()
    return {
        "processor": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(int(memory[0]) / 2**20) if memory[0].isdigit() else 0,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def load() -> float:
    """Mean number of running processes over the last minute; 0 where it is unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
