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


def test_a_prediction_imports_no_engine_and_no_registry_of_units():
    """What nothing of `sfm predict` needs took a third of its start-up."""
    rare = ["pint", "scipy.spatial", "scipy.integrate", "sfm_dft.scf", "pyscf", "transformers"]
    words = json.dumps(["predict", "sfm-tiny", "CCO"])
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=rare), words], capture_output=True, text=True
    )
    assert json.loads(done.stderr.splitlines()[-1]) == [0, []], done.stderr


COUNT = """
import sys
bare = set(sys.modules)
from sfm.cli import main
main(["--help"])
print(*sorted(set(sys.modules) - bare), file=sys.stderr)
"""


def test_help_imports_little():
    """Help costs what it imports: some 55 modules, all of Python's library or `sfm.cli`'s own."""
    command = [sys.executable, "-c", COUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = done.stderr.split()
    rooms = {name.partition(".")[0] for name in loaded}
    assert rooms <= sys.stdlib_module_names | {"sfm"}
    assert len(loaded) < 80, loaded


def test_python_dash_m_is_the_command(tmp_path):
    env = {**os.environ, "SFM_CACHE": str(tmp_path)}
    command = [sys.executable, "-m", "sfm", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    assert done.stdout.startswith("sfm 0.")
