"""The core's conformance kit on every part of this plugin."""

from __future__ import annotations

import subprocess
import sys

from sfm.testing.conformance import parametrize_checks


@parametrize_checks("molecules")
def test_conformance(check):
    check()


def test_the_plugin_object_imports_nothing_heavy():
    code = (
        "import sys, sfm_molecules, sfm_molecules.data.specs; "
        "heavy = {'torch', 'numpy', 'rdkit', 'ase', 'tblite', 'pandas'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
