"""Memory of the process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from sfm.train.memory import peak_memory

CHILD = "from sfm.train.memory import peak_memory; print(peak_memory())"


def test_the_peak_grows_with_what_is_held():
    before = peak_memory()
    held = np.ones(60_000_000)  # 458 MiB
    assert peak_memory() >= before
    assert peak_memory() > held.nbytes


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere getrusage is all there is")
def test_a_child_does_not_begin_with_the_peak_of_its_parent():
    """A conversion seemed to take 1,006 MiB beneath a test process that had held as much."""
    held = np.ones(60_000_000)
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert int(done.stdout) < held.nbytes
