"""Documents whose code runs: every block of a Markdown page, in its order, as a reader would."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(page: Path) -> list[tuple[str, str]]:
    """(`python` or `bash`, code) of each block of the page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def missing(code: str) -> str | None:
    """The first package that a Python block imports and that is not installed."""
    names = re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)
    return next((name for name in names if importlib.util.find_spec(name) is None), None)


def run_snippet(
    kind: str, code: str, folder: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run a block in a process of its own, in `folder`; bash finds this Python's `sfm` first.

    Returns:
        What it wrote to stdout.

    Raises:
        AssertionError: it failed; with the code and all that it wrote.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, **(environment or {}), "PATH": path}
    command = [sys.executable, "-c", code] if kind == "python" else ["bash", "-ec", code]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{code}\n{done.stdout}\n{done.stderr}")
    return done.stdout
