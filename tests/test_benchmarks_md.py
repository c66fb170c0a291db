"""`make bench ONLY=md`: its fluid, its report, and one real measurement of our own dynamics."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_our_forces_are_those_of_ase_on_the_fluid(monkeypatch):
    cases, engines = load("md_cases", monkeypatch), load("md_engines", monkeypatch)
    start = cases.fluid("500", rattle=engines.RATTLE)
    assert len(start.positions) == 500
    assert 500 / start.side**3 == pytest.approx(cases.DENSITY)
    np.testing.assert_allclose(start.velocities.mean(0), 0, atol=1e-12)
    ours, ase = (engines.ENGINES[name](start).forces() for name in ("sfm", "ase"))
    np.testing.assert_allclose(ours, ase, atol=1e-9 * np.abs(ase).max())


def test_a_batch_relaxes_to_the_volumes_of_the_loop(monkeypatch):
    relax = load("md_relax", monkeypatch)
    given = relax.crystals(1)
    volumes = [engine().relax(given) for engine in relax.ENGINES.values()]
    np.testing.assert_allclose(*volumes, rtol=1e-3)


def test_published_tables_are_those_of_the_published_numbers(monkeypatch):
    report = load("md_report", monkeypatch)
    if not (FOLDER / "results_md.json").exists():
        pytest.skip("not measured yet: make bench ONLY=md")
    results = json.loads((FOLDER / "results_md.json").read_text())
    assert (FOLDER / "RESULTS_MD.md").read_text() == report.tables(results)


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
