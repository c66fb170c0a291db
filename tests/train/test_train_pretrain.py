"""Pretraining runs: what they leave, exact resumption after kill -9, two processes like one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from sfm.config import Target
from sfm.errors import InputError, InputWarning, RecipeError, RunError
from sfm.model import FoundationModel
from sfm.recipe import OptimizerSection
from sfm.registry import find
from sfm.train.build import fit_normalisers, model_config, new_model
from sfm.train.calibrate import calibrate
from sfm.train.callbacks import SaveLast
from sfm.train.engine import read_checkpoint
from sfm.train.losses import pretraining_tasks
from sfm.train.plan import plan
from sfm.train.pretrain import pretrain
from sfm.train.schedule import decay_start, lr_factor
from sfm.train.slurm import requeue
from sfm.train.start import start_from
from sfm.train.tasks import open_tasks


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def write(tmp_path, recipe, name="recipe.yaml"):
    path = tmp_path / name
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    return path


def wait_for(path, process) -> None:
    """Until the file exists; the process must be alive until then."""
    while not path.exists():
        assert process.is_alive(), f"the run ended with {process.exitcode}"
        time.sleep(0.002)


def test_a_task_may_take_another_build_of_its_dataset(recipe, tmp_path):
    plain = recipe(steps=1)
    first = plain.tasks[0]
    bundled = find("datasets", first.dataset).load().folder
    other = tmp_path / "larger"
    shutil.copytree(bundled, other)

    def opened(folder):
        task = first.model_copy(update={"folder": str(folder)})
        return open_tasks(plain.model_copy(update={"tasks": (task,)}))[0]

    task = opened(other)
    assert (task.name, task.train.sources[0].folder) == (first.dataset, other)
    for missing in tmp_path / "nowhere", tmp_path:
        with pytest.raises(InputError, match="no data/"):
            opened(missing)
    twice = [t.model_copy(update={"folder": f}).to_dict() for t in plain.tasks
             for f in (None, str(tmp_path / "elsewhere"))]  # fmt: skip
    old, note = pretraining_tasks({"recipe": {**plain.to_dict(), "tasks": twice}})
    assert ([t.name for t in old], note) == ([t.dataset for t in plain.tasks], "")
    wrong = find("datasets", "birds/nests").load().folder
    with pytest.raises(RecipeError, match=r"tasks\.0\.folder: .* is a build of 'nests', not of"):
        opened(wrong)


def test_a_run_leaves_a_model_and_a_report(recipe, tmp_path):
    out = pretrain(recipe(steps=30), tmp_path / "model")
    report = json.loads((out / "report.json").read_text())
    losses = [row["loss"] for row in report["history"] if "loss" in row]
    assert losses[-1] < losses[0]
    assert any("validation/loss/birds" in row for row in report["history"])
    names = {(m["encoder"], m["quantity"]) for m in report["metrics"]}
    assert ("spiders/points", "forces") in names
    model, (webs, *_) = FoundationModel.from_pretrained(out), open_tasks(recipe(steps=1))
    forces = dataclasses.replace(
        webs, present=(("pair", "forces"),), validation=[webs.train[i] for i in range(20)]
    )
    assert list(calibrate(model, [forces])) == ["spiders/points:forces@pair"]
    web = webs.train[20]
    sigma = model.predict(web).uncertainty["forces"]  # of each component of an atom's
    assert sigma.shape == (len(web.types),)
    assert (sigma > 0).all()
    assert (
        calibrate(
            model, [dataclasses.replace(forces, validation=[webs.train[i] for i in range(9)])]
        )
        == {}
    )
    for metric in report["metrics"]:
        assert metric["unit"]
        assert metric["baseline_mae"] > 0
    training = json.loads((out / "training.json").read_text())
    assert training["recipe"]["training"]["steps"] == 30
    assert training["data"][0]["revision"]
    samples = training["splits"]["spiders/points on spiders/webs"]
    assert samples["train"] == training["data"][0]["samples"]
    assert len(training["splits"]) == len(training["data"]) == 2
    assert training["versions"]["torch"] == torch.__version__
    assert (out / "losses.png").stat().st_size > 1000
    assert (out / "parity.png").stat().st_size > 1000
    assert list(out.glob("run/logs/start_0/metrics.csv"))
    model = FoundationModel.from_pretrained(out)
    assert {t.quantity for t in model.targets()} == {"energy", "forces", "arrow", "extent"}
    with pytest.raises(InputError, match="already holds a run"):
        pretrain(recipe(steps=30), out)


def test_checkpoints_load_without_pickled_code(recipe, tmp_path):
    out = pretrain(recipe(steps=3), tmp_path / "model", log=False)
    saved = torch.load(out / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    assert set(saved["sfm"]) == {"recipe", "sampler", "rng", "parameters"}
    other = recipe(steps=3)
    changed = other.optimizer.model_copy(update={"lr": 0.5})
    other = other.model_copy(update={"optimizer": changed})
    with pytest.raises(RecipeError, match=r"optimizer.lr was 0.01 and is now 0.5"):
        pretrain(other, out, resume=True)


def test_killed_and_resumed_equals_unbroken(recipe, start, tmp_path):
    planned = recipe(steps=60, checkpoint_every=5)
    broken = tmp_path / "broken"
    checkpoint = broken / "run" / "last.ckpt"
    process = start(write(tmp_path, planned), broken)
    wait_for(checkpoint, process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    saved = torch.load(checkpoint, weights_only=True)
    assert 0 < saved["global_step"] < 60
    unbroken = pretrain(planned, tmp_path / "unbroken", log=False)
    pretrain(planned, broken, resume=True, log=False)
    whole, resumed = weights(unbroken), weights(broken)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    histories = [
        [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in json.loads((folder / "report.json").read_text())["history"]
        ]
        for folder in (unbroken, broken)
    ]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_save_a_checkpoint(recipe, start, tmp_path, number):
    planned = recipe(steps=100_000, checkpoint_every=5, validate_every=100_000)
    checkpoint = tmp_path / "out" / "run" / "last.ckpt"
    process = start(write(tmp_path, planned), tmp_path / "out")
    wait_for(checkpoint, process)
    before = checkpoint.stat().st_mtime_ns
    with pytest.raises(InputError, match=f"in use by process {process.pid} on"):
        pretrain(planned, tmp_path / "out", resume=True)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 130
    assert checkpoint.stat().st_mtime_ns > before
    assert 0 < torch.load(checkpoint, weights_only=True)["global_step"] < 100_000


def scontrol(folder, code):
    """SLURM's command, which notes what it is asked; the path to find it."""
    command = folder / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {folder}/told\necho not now >&2\nexit {code}\n')
    command.chmod(0o755)
    return f"{command.parent}{os.pathsep}{os.environ['PATH']}"


def test_slurm_puts_a_job_back_after_a_checkpoint(recipe, start, tmp_path):
    environment = {
        "SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "mine", "SLURM_NTASKS": "1", "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost",
        "PATH": scontrol(tmp_path, 0),
    }  # fmt: skip
    long = recipe(steps=100_000, checkpoint_every=100_000, validate_every=100_000)
    out = tmp_path / "out"
    process = start(write(tmp_path, long), out, environment=environment)
    wait_for(out / "run" / "progress.json", process)
    os.kill(process.pid, signal.SIGUSR1)
    process.join()
    assert process.exitcode == 130
    assert (tmp_path / "told").read_text() == "requeue 4711\n"
    assert 0 < torch.load(out / "run" / "last.ckpt", weights_only=True)["global_step"] < 100_000
    assert not list(out.rglob("hpc_ckpt*"))  # Lightning's own, from the middle of a step


def test_a_job_that_slurm_does_not_take_back_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", scontrol(tmp_path, 1))
    with pytest.warns(InputWarning, match=r"job 7 is not back in the queue \(not now\)"):
        requeue(7)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(InputWarning, match="No such file or directory: 'scontrol'"):
        requeue(7)


def test_a_full_disk_at_a_checkpoint_is_one_line(recipe, tmp_path, monkeypatch):
    """And the run goes on from the checkpoint before it, when there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        planned, out, filler = recipe(steps=4, checkpoint_every=2), disk / "model", disk / "filler"
        with monkeypatch.context() as patch:
            save = SaveLast.on_train_batch_end

            def fill_then_save(self, trainer, *rest):
                if trainer.global_step == 3:
                    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                        while True:
                            file.write(b"x" * 4096)
                save(self, trainer, *rest)

            patch.setattr(SaveLast, "on_train_batch_end", fill_then_save)
            with pytest.raises(RunError, match=r"last.ckpt: cannot be written \(No space left"):
                pretrain(planned, out, log=False)
        kept = sorted(p.name for p in (out / "run").iterdir())
        assert kept == ["last.ckpt", "progress.json"]
        saved = torch.load(out / "run" / "last.ckpt", weights_only=True)
        assert saved["global_step"] == 2
        filler.unlink()
        pretrain(planned, out, resume=True, log=False)
        assert (out / "model.safetensors").is_file()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def two_ranks(start, path, out):
    """The two processes of a distributed run on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": "0"}
    return [start(path, out, environment={**common, "LOCAL_RANK": str(rank)}) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("told", [(0,), (1,), (0, 1)])
def test_sigterm_to_any_of_two_processes_stops_both_with_a_checkpoint(
    recipe, start, tmp_path, told
):
    planned = recipe(steps=100_000, checkpoint_every=5, validate_every=100_000, devices=2)
    checkpoint = tmp_path / "out" / "run" / "last.ckpt"
    ranks = two_ranks(start, write(tmp_path, planned), tmp_path / "out")
    wait_for(checkpoint, ranks[0])
    before = checkpoint.stat().st_mtime_ns
    for rank in told:
        os.kill(ranks[rank].pid, signal.SIGTERM)
    for process in ranks:
        process.join(120)
        assert process.exitcode == 130
    assert checkpoint.stat().st_mtime_ns > before
    assert 0 < torch.load(checkpoint, weights_only=True)["global_step"] < 100_000


def test_two_processes_do_what_one_does(recipe, start, tmp_path):
    # float64: a different order of summation differs by rounding only
    one = recipe(steps=3, precision=64, ema=0.0)
    two = recipe(steps=3, precision=64, ema=0.0, devices=2)
    pretrain(one, tmp_path / "one", log=False)
    path = write(tmp_path, two)
    for process in two_ranks(start, path, tmp_path / "two"):
        process.join()
        assert process.exitcode == 0
    single, double = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in single.items():
        if "uncertainties" not in name:
            assert torch.allclose(value, double[name], rtol=1e-7, atol=1e-9), name


def test_a_bad_label_stops_the_run_with_its_id(recipe, tmp_path, monkeypatch):
    from sfm.data import storage

    original = storage.Dataset.__getitem__

    def spoiled(self, item):
        sample = original(self, item)
        if sample.id == victim:
            labels = {**sample.labels, "forces": sample.labels["forces"] * np.nan}
            return sample.replace(labels=labels)
        return sample

    planned = recipe(steps=40)
    from sfm.train.tasks import open_tasks

    victim = open_tasks(planned)[0].train[4].id
    monkeypatch.setattr(storage.Dataset, "__getitem__", spoiled)
    with pytest.raises(RunError, match=f"{victim}: the label 'forces' is not a finite number"):
        pretrain(planned, tmp_path / "model", log=False)


def test_a_plan_says_what_it_measured(recipe):
    report = plan(recipe())
    assert report["parameters"] > 1000
    assert [t["dataset"] for t in report["tasks"]] == ["spiders/webs", "birds/nests"]
    assert sum(t["share"] for t in report["tasks"]) == pytest.approx(1)
    assert report["estimate"]["training_seconds"] > 0
    assert "measured" in report["estimate"]["method"]


def test_a_start_gives_its_rows_by_name_whatever_the_order_of_tasks(recipe, tmp_path):
    planned = recipe(steps=2)
    first = pretrain(planned, tmp_path / "first", log=False)
    turned = planned.model_copy(update={"tasks": planned.tasks[::-1]})
    tasks = open_tasks(turned)
    model = new_model(model_config(tasks, turned.model, "turned"), seed=5)
    fit_normalisers(model, tasks)
    assert start_from(model, str(first)) == []
    old = FoundationModel.from_pretrained(first)
    for task in tasks:
        sample, part, quantity = task.test[0], task.encoder, next(iter(task.goals))
        assert model.config.contexts != old.config.contexts
        values = [
            m({part: m.tokenize(part, [sample])}, {part: [quantity]})[part][quantity]
            for m in (model, old)
        ]
        assert torch.allclose(*values, rtol=1e-6, atol=0)


def test_a_wider_model_starts_as_a_narrower_one(recipe, tmp_path):
    planned = recipe(steps=2)
    first = pretrain(planned, tmp_path / "first", log=False)
    old = FoundationModel.from_pretrained(first).double()
    size = {name: 2 * old.config.trunk[name] for name in ("channels", "carried")}
    tasks = open_tasks(planned)
    config = model_config(tasks, planned.model.model_copy(update=size), "wide")
    model = new_model(config, seed=5).double()
    fit_normalisers(model, tasks)
    assert start_from(model, str(first)) == []
    for task in tasks:
        sample, part, quantity = task.test[0], task.encoder, next(iter(task.goals))
        values = [
            m({part: m.tokenize(part, [sample])}, {part: [quantity]})[part][quantity]
            for m in (model, old)
        ]
        assert torch.allclose(*values, rtol=1e-6, atol=0)  # the file of weights is in float32


def test_a_start_may_lack_tasks_and_have_others(recipe, tmp_path, capsys):
    planned = recipe(steps=2)
    spiders = planned.model_copy(update={"tasks": planned.tasks[:1]})
    birds = planned.model_copy(update={"tasks": planned.tasks[1:]})
    first = pretrain(spiders, tmp_path / "first", log=False)
    capsys.readouterr()
    wide = pretrain(planned.model_copy(update={"start": str(first)}), tmp_path / "wide", log=False)
    said = capsys.readouterr().err
    assert "start: head birds/points:extent is new" in said
    assert "left out" not in said
    # a checkpoint holds what the start gave: the run can be resumed without it
    (first / "model.safetensors").unlink()
    again = planned.model_copy(update={"start": str(first)})
    assert pretrain(again, wide, log=False, resume=True) == wide
    narrow = birds.model_copy(update={"start": str(wide)})
    pretrain(narrow, tmp_path / "narrow", log=False)
    assert f"head spiders/points:energy of '{wide}' has no task here" in capsys.readouterr().err


def test_a_new_level_starts_as_a_known_one_of_its_encoder(recipe, tmp_path):
    first = pretrain(recipe(steps=2), tmp_path / "first", log=False)
    old = FoundationModel.from_pretrained(first)
    target = Target("spiders/points", "triple", "energy")
    model = new_model(old.extended([target]).config, seed=7)
    assert start_from(model, str(first)) == ["start: level spiders/points at triple is new"]
    pair, triple = (model.context("spiders/points", level) for level in ("pair", "triple"))
    scalars, logits = model.trunk.context_scalars.weight, model.trunk.router.level_logits
    assert torch.equal(scalars[triple], scalars[pair])
    assert torch.equal(scalars[pair], old.trunk.context_scalars.weight[pair])
    rows = [row for _, row in model.config.context_indices()]
    assert torch.equal(logits[rows[triple]], logits[rows[pair]])


def test_the_record_has_the_scales_that_a_start_gave(recipe, tmp_path):
    few = recipe(steps=1, max_samples=20)
    first = pretrain(few, tmp_path / "first", log=False)
    all_of_them = recipe(steps=1).model_copy(update={"start": str(first)})
    second = pretrain(all_of_them, tmp_path / "second", log=False)
    rows = [
        json.loads((out / "training.json").read_text())["references"] for out in (first, second)
    ]
    energy = [next(r for r in row if r["quantity"] == "energy") for row in rows]
    assert energy[1]["scale"] == pytest.approx(energy[0]["scale"], rel=1e-12)
    assert energy[1]["references"] == f"of {first}"
    assert energy[1]["residual"] is None


def test_a_start_of_another_architecture_is_refused(recipe, tmp_path):
    planned = recipe(steps=1)
    first = pretrain(planned, tmp_path / "first", log=False)
    wider = planned.model.model_copy(update={"channels": 12})
    other = planned.model_copy(update={"start": str(first), "model": wider})
    with pytest.raises(RecipeError, match=r"is of another architecture: '.*' is .* take the same"):
        pretrain(other, tmp_path / "other", log=False)


def test_held_out_data_is_refused(toy):
    from sfm.recipe import parse

    task = {"dataset": "spiders/held-webs", "quantities": {"energy": 1}}
    with pytest.raises(RecipeError, match=r"tasks\.0\.dataset: 'spiders/held-webs' is held out"):
        parse({"name": "a", "tasks": [task]})


def stable(recipe, steps: int, **training):
    planned = recipe(steps=steps, ema=0.9, **training)
    schedule = {"schedule": "stable", "decay": 0.5, "warmup": 2}
    return planned.model_copy(update={"optimizer": planned.optimizer.model_copy(update=schedule)})


def test_a_finished_stable_run_goes_on_as_if_it_had_never_been_finished(recipe, tmp_path):
    out = pretrain(stable(recipe, 8), tmp_path / "legs", log=False)
    first = weights(out)
    pretrain(stable(recipe, 20), out, resume=True, log=False)
    whole = weights(pretrain(stable(recipe, 20), tmp_path / "whole", log=False))
    assert any(not torch.equal(first[name], whole[name]) for name in whole)
    for name, value in weights(out).items():
        assert torch.equal(value, whole[name]), name
    # step 10 of 20 began the decay, so fewer than 20 steps come too late
    with pytest.raises(RecipeError, match="constant up to step 10: it can be finished with 20"):
        pretrain(stable(recipe, 12), out, resume=True)


def test_a_long_stable_run_can_be_finished_early(recipe, start, tmp_path):
    long = stable(recipe, 100_000, checkpoint_every=1, validate_every=100_000)
    out = tmp_path / "out"
    process = start(write(tmp_path, long), out)
    wait_for(out / "run" / "last.ckpt", process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    done = torch.load(out / "run" / "last.ckpt", weights_only=True)["global_step"]
    short = stable(recipe, 2 * done, checkpoint_every=1, validate_every=100_000)
    pretrain(short, out, resume=True, log=False)
    again = weights(pretrain(short, tmp_path / "again", log=False))
    for name, value in weights(out).items():
        assert torch.equal(value, again[name]), name
    kept = torch.load(out / "run" / "stable.ckpt", weights_only=True)["global_step"]
    assert kept == decay_start(short.optimizer, 2 * done)


def test_rates_of_a_stable_schedule():
    section = OptimizerSection(schedule="stable", decay=0.25, warmup=4, final=0.1)
    rates = [lr_factor(step, section, 40) for step in range(40)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[30] == 1.0 > rates[31]
    assert lr_factor(40, section, 40) == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[4:]))


def test_a_checkpoint_from_before_a_setting_has_its_default(recipe, tmp_path):
    planned = recipe(steps=3).to_dict()
    before = {
        **planned,
        "optimizer": {k: v for k, v in planned["optimizer"].items() if k != "decay"},
    }
    torch.save({"sfm": {"recipe": before}, "global_step": 2}, tmp_path / "last.ckpt")
    assert read_checkpoint(tmp_path / "last.ckpt", planned) == (2, 3)
    changed = {**planned, "optimizer": {**planned["optimizer"], "decay": 0.5}}
    with pytest.raises(RecipeError, match=r"optimizer.decay was 0.2 and is now 0.5"):
        read_checkpoint(tmp_path / "last.ckpt", changed)
