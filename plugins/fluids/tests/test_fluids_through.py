"""A recipe with runs through the solver: resumption, two processes, mistakes, and blow-ups."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.periodic.through import Rollouts

from sfm.data.sample import Sample
from sfm.errors import InputError, RecipeError, RunError
from sfm.recipe import Recipe, parse
from sfm.train.plan import plan
from sfm.train.pretrain import pretrain
from sfm.train.through import ThroughTerm


def recipe(*, closure: dict | None = None, **training: object) -> Recipe:
    """The smallest model, through one snapshot in two steps, on few samples."""
    return parse(
        {
            "name": "through",
            "model": {
                "channels": 4,
                "layers": 1,
                "experts": 2,
                "radial": 4,
                "carried": 4,
                "encoders": {"fluids/patches": {"patch": 8}},
            },
            "tasks": [
                {
                    "dataset": "fluids/turbulence-2d",
                    "quantities": {"sgs_stress": 0.1},
                    "max_samples": 24,
                    "through": {
                        "simulator": "fluids/navier-stokes-2d",
                        "weight": 5,
                        "runs": 3,
                        "options": {"snapshots": 1, "dt": 0.125, "closure_every": "step"},
                        "closure": closure or {},
                    },
                }
            ],
            "optimizer": {"lr": 1e-2, "warmup": 2},
            "training": {
                "tokens_per_batch": 64,
                "validate_every": 1000,
                "validation_samples": 2,
                "log_every": 2,
                "accelerator": "cpu",
                "ema": 0.0,
                **training,
            },
        }
    )


def run(values: dict, out: Path, environment: dict[str, str]) -> None:
    """A run in a process of its own."""
    # the server of forks keeps the environment of whichever test started it
    os.environ.pop("SFM_PLUGINS", None)
    os.environ.update(environment)
    pretrain(parse(values), out, log=False, test_samples=2)


def start(recipe: Recipe, out: Path, **environment: str) -> multiprocessing.Process:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sfm.train.pretrain"])
    process = context.Process(target=run, args=(recipe.to_dict(), out, environment))
    process.start()
    return process


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    killed = recipe(steps=12, checkpoint_every=3)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    process = start(killed, broken)
    checkpoint = broken / "run" / "last.ckpt"
    while not checkpoint.exists():
        assert process.is_alive(), f"the run ended with {process.exitcode}"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert 0 < torch.load(checkpoint, weights_only=True)["global_step"] < 12
    pretrain(killed, whole, log=False, test_samples=2)
    pretrain(killed, broken, log=False, test_samples=2, resume=True)
    resumed = weights(broken)
    for name, value in weights(whole).items():
        assert torch.equal(value, resumed[name]), name
    reports = [json.loads((out / "report.json").read_text()) for out in (whole, broken)]
    assert reports[0]["through"] == reports[1]["through"]
    (ran,) = reports[0]["through"]
    assert ran["split"] == "test"
    assert ran["loss"] != ran["loss without closure"]


def test_two_processes_do_what_one_does(tmp_path):
    """float64: sums in another order differ by rounding only. Three runs: the shares differ."""
    options = {"steps": 3, "precision": 64, "tokens_per_batch": 64}
    pretrain(recipe(**options), tmp_path / "one", log=False, test_samples=2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": "0"}
    two = recipe(**options, devices=2)
    ranks = [start(two, tmp_path / "two", **common, LOCAL_RANK=str(rank)) for rank in range(2)]
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    double = weights(tmp_path / "two")
    for name, value in weights(tmp_path / "one").items():
        if "uncertainties" not in name:
            assert torch.allclose(value, double[name], rtol=1e-7, atol=1e-9), name


def test_a_measured_run_that_blows_up_costs_no_report(tmp_path, monkeypatch):
    """The loss of a report is not finite: it is null there, in place of no report at all."""
    monkeypatch.setattr(ThroughTerm, "mean", lambda self, closure, split, limit=16: math.nan)
    short = recipe(steps=1, validate_every=1)
    out = pretrain(short, tmp_path / "model", log=False, test_samples=2)
    report = json.loads((out / "report.json").read_text())
    assert report["through"][0]["loss"] is None
    rows = [k for row in report["history"] for k, v in row.items() if v is None]
    assert rows == ["validation/turbulence-2d/through fluids/navier-stokes-2d"]
    from sfm.cli.pretrain import show_report

    show_report(out, as_json=False)


def test_a_closure_that_is_a_copy_detached_or_has_unknown_options_is_refused(tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"\{'collapsed': True\} makes the closure a copy"):
        pretrain(recipe(steps=1, closure={"collapsed": True}), tmp_path / "a", log=False)
    with pytest.raises(RecipeError, match=r"\{'collapsed': True\} makes the closure a copy"):
        plan(recipe(steps=1, closure={"collapsed": True}))
    with pytest.raises(RecipeError, match=r"tasks\.0\.through\.closure: .*'colapsed'"):
        pretrain(recipe(steps=1, closure={"colapsed": True}), tmp_path / "b", log=False)
    losses = Rollouts.losses
    monkeypatch.setattr(Rollouts, "losses", lambda *given: losses(*given).detach())
    with pytest.raises(RunError, match="passes no gradient on to the model"):
        pretrain(recipe(steps=1), tmp_path / "c", log=False)


def snapshots(*times: float) -> list[Sample]:
    return [
        Sample(
            id=f"re100-kolmogorov-1-{number:03d}",
            domain="fluids",
            fields={"velocity": np.ones((2, 32, 32))},
            conditions={"time": time, "viscosity": 0.01, "drag": 0.1},
        )
        for number, time in enumerate(times)
    ]


def test_runs_of_other_data_are_refused_and_no_run_bridges_a_gap():
    rollouts = NavierStokes2D.through(snapshots=1, dt=0.025)
    quarter, fifth = snapshots(0.0, 0.25), snapshots(0.0, 0.2)
    with pytest.raises(InputError, match=r"snapshots 0\.2 and 0\.25 apart cannot be compared"):
        rollouts.losses(None, [quarter, fifth])
    # a subset lacks snapshots: no run bridges the gap
    assert rollouts.windows(snapshots(0.0, 0.25, 1.0, 1.25)) == [(0, 1), (2, 3)]
    first = quarter[0]
    fine = first.replace(fields={"velocity": first.fields["velocity"].repeat(2, -1)})
    with pytest.raises(InputError, match=r"velocity \(2, 32, 64\), where a run takes"):
        rollouts.windows([fine])
    with pytest.raises(InputError, match="no condition 'drag'"):
        rollouts.windows([first.replace(conditions={"time": 0.0, "viscosity": 0.1})])
    with pytest.raises(InputError, match="not a row of turbulence-2d, whose force is known"):
        rollouts.windows([first.replace(id="re100-channel-1-000")])
