"""What is light stays light: no torch where none is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sfm.testing.tolerances import HEAVY_MODULES

PROBE = """
import json, sys
sys.argv = ["sfm", *json.loads(sys.argv[1])]
code = 0
if sys.argv[1:]:
    from sfm.cli import main
    code = main()
else:
    import sfm
heavy = [m for m in {heavy} if m in sys.modules]
print(json.dumps([code, heavy]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["--version"],
        ["predict", "--help"],
        ["simulate", "--help"],
        ["pretrain", "--help"],
        ["plugin", "list"],
        ["plugin", "list", "--json"],
        ["dataset", "list"],
        ["models"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_no_heavy_import(words):
    code = PROBE.format(heavy=HEAVY_MODULES)
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(words)], capture_output=True, text=True
    )
    exit_code, heavy = json.loads(done.stderr.splitlines()[-1])
    assert heavy == []
    assert exit_code == (2 if words == ["nonsense"] else 0), done.stderr


def cpu_seconds(*command: str) -> float:
    """Processor time, the best of several runs: a busy machine only adds to it."""
    best = float("inf")
    for _ in range(9):
        null = subprocess.DEVNULL
        process = subprocess.Popen([sys.executable, *command], stdout=null, stderr=null)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        best = min(best, usage.ru_utime + usage.ru_stime)
    return best


def test_help_is_quick():
    bare = cpu_seconds("-c", "pass")
    help_ = cpu_seconds("-c", "from sfm.cli import main; main(['--help'])")
    assert help_ < 0.5
    assert help_ < 3.3 * bare, f"{help_:.3f} s, python alone {bare:.3f} s"


def test_python_dash_m_is_the_command(tmp_path):
    env = {**os.environ, "SFM_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "sfm", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert done.stdout.startswith("sfm 0.")
