"""`make bench ONLY=md`: its fluid, its report, and one real measurement of our own dynamics."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
pytestmark = pytest.mark.usefixtures("benchmarks")


def test_our_forces_are_those_of_ase_on_the_fluid():
    cases, engines = import_module("md_cases"), import_module("md_engines")
    start = cases.fluid("500", rattle=engines.RATTLE)
    assert len(start.positions) == 500
    assert 500 / start.side**3 == pytest.approx(cases.DENSITY)
    np.testing.assert_allclose(start.velocities.mean(0), 0, atol=1e-12)
    ours, ase = (engines.ENGINES[name](start).forces() for name in ("sfm", "ase"))
    np.testing.assert_allclose(ours, ase, atol=1e-9 * np.abs(ase).max())


def test_a_batch_relaxes_to_the_volumes_of_the_loop():
    relax = import_module("md_relax")
    given = relax.crystals(1)
    volumes = [engine().relax(given) for engine in relax.ENGINES.values()]
    np.testing.assert_allclose(*volumes, rtol=1e-3)


def test_batches_of_the_models_and_their_environments():
    models, peers = import_module("md_models"), import_module("peers")
    (cell,), molecules = (models.structures(size) for size in models.SIZES)
    assert (len(cell), cell.pbc.all()) == (64, True)
    assert [len(m) for m in molecules] == [9] * 32
    assert not any(m.pbc.any() for m in molecules)
    assert {models.PEERS[name] for name in models.ENGINES} <= set(peers.REQUIREMENTS)


def test_more_threads_are_said_not_to_be_used(capsys):
    options = Namespace(quick=True, rounds=None, only="md", threads=4)
    assert not import_module("md").Run(options).measured
    assert "--threads 4 is not used" in capsys.readouterr().err


@pytest.mark.slow
def test_measures_our_dynamics(tmp_path):
    only = "sfm,500,nve,gradient"
    command = [sys.executable, str(FOLDER / "run.py"), "--quick", "--only", only]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results_md.json").read_text())
    assert results["failed"] == {}
    assert {row["engine"] for row in results["timings"]} == {"sfm", "sfm float32"}
    (row,) = (row for row in results["gradient"] if row["engine"] == "sfm")
    assert row["gradient"][0] > row["forward"][0] > 0
