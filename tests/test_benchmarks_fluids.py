"""`make bench`, the flow solvers: the case, our solver in it, the report, and one real run."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
pytestmark = pytest.mark.usefixtures("benchmarks")


def test_the_flow_is_the_same_on_every_grid():
    flow_case = import_module("flow_case")
    coarse, fine = flow_case.make(64), flow_case.make(256)
    assert np.abs(fine.vorticity[::4, ::4] - coarse.vorticity).max() < 1e-12
    assert abs(coarse.vorticity.mean()) < 1e-14
    # the energy of omega = sum of modes is sum |omega_k|^2 / k^2: root-mean-square velocity 1
    hat = np.fft.fft2(coarse.vorticity) / 64**2
    number = np.fft.fftfreq(64, 1 / 64)
    square = number[:, None] ** 2 + number**2
    square[0, 0] = 1.0
    assert np.sum(np.abs(hat) ** 2 / square) == pytest.approx(1.0, rel=1e-12)


def test_our_gradient_in_the_benchmark_is_that_of_the_scalar():
    flow_case, solver = import_module("flow_case"), import_module("solvers.sfm_solver")
    case = flow_case.make(64, steps=2)
    ours = solver.build(case)
    gradient = ours.array(ours.gradient("etdrk4")()).astype(float)
    ends = []
    for sign in (1, -1):
        moved = case.vorticity * (1 + sign * 1e-2)
        end = solver.Sfm(flow_case.Case(moved, case.viscosity, case.dt, case.steps)).reference()
        ends.append(0.5 * np.sum(end**2))
    along = np.sum(gradient * case.vorticity) * 2e-2
    assert along == pytest.approx(ends[0] - ends[1], rel=1e-3)


def test_the_bound_is_of_sixteen_transforms_a_step(monkeypatch):
    import torch

    flow_case, solver = import_module("flow_case"), import_module("solvers.sfm_solver")
    ours = solver.build(flow_case.make(64, steps=3))
    work = ours.kept("etdrk4", "whole transforms")
    done = []
    for name in ("rfft2", "irfft2"):
        plain = getattr(torch.fft, name)

        def counted(x, *args, plain=plain, **kwargs):
            done.append(x.numel() // x[0].numel())
            return plain(x, *args, **kwargs)

        monkeypatch.setattr(torch.fft, name, counted)
    work()
    assert sum(done) == 3 * 16


@pytest.mark.slow
def test_measures_our_solver(tmp_path):
    only = "fluids,sfm,64,forward,gradient"
    command = [sys.executable, str(FOLDER / "run.py"), "--rounds", "1", "--only", only]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results_fluids.json").read_text())
    assert results["failed"] == {}
    assert results["long"] == []
    times = {(r["scheme"], r["task"]): r["cpu"][0] for r in results["timings"]}
    assert times["etdrk4", "gradient"] > times["etdrk4", "forward"] > times["etdrk4", "transforms"]
    errors = {r["scheme"]: r["error"] for r in results["agreement"] if r["task"] == "forward"}
    assert errors["etdrk4"] < 1e-5
    assert errors["etdrk4"] < errors["etdrk2"] < 1e-2
    assert not (tmp_path / "results.json").exists()
    assert "sfm etdrk4" in (tmp_path / "RESULTS_FLUIDS.md").read_text()
