"""The measuring process's side of the conversation: one JSON request a line, one answer a line."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

MIB = 2**20


def serve(start: Callable[[], tuple[Any, dict[str, Any]]]) -> None:
    """Answer requests from stdin with the methods of the object that `start` makes.

    The first answer is the description that `start` returns beside it. Whatever the packages print
    goes to stderr. An exception becomes {"error": its first line}.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")

    def answer(request: Callable[[], dict[str, Any]]) -> None:
        try:
            reply = request()
        except Exception as error:
            lines = f"{type(error).__name__}: {error}".splitlines()
            reply = {"error": lines[0]}
        print(json.dumps(reply), file=answers)

    servers: list[Any] = []

    def first() -> dict[str, Any]:
        server, description = start()
        servers.append(server)
        return description

    answer(first)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        answer(lambda name=name, arguments=arguments: getattr(servers[0], name)(**arguments))


def packages(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of the installed distributions among `names`."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def resident() -> float:
    """Memory of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def reset_peak() -> None:
    """Let the peak of this process start from what it holds now, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Largest memory of this process since the last reset, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
