"""What a run writes for whoever watches it."""

from __future__ import annotations

import os
import platform
import time

import pytest

from sfm.errors import RunError
from sfm.formats.strict_json import read_object
from sfm.train import watched
from sfm.train.callbacks import Interrupt
from sfm.train.pretrain import pretrain


def progress(out):
    return read_object(out / "run" / "progress.json")


def test_a_run_tells_how_it_goes_and_ends(make_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(watched, "PAUSE", 0.0)
    written = []
    write = watched.write_json
    monkeypatch.setattr(watched, "write_json", lambda p, v: (written.append(v), write(p, v)))
    out = pretrain(make_recipe(), tmp_path / "m", log=False)
    states = [v["state"] for v in written]
    assert states == ["running"] * (len(states) - 1) + ["trained"]
    assert [v["step"] for v in written] == [0, *range(1, 9), 8]
    going = written[5]
    assert going["seconds_left"] == pytest.approx(
        (8 - 5) * (going["updated"] - written[0]["updated"]) / 5, rel=0.5
    )
    assert [r["step"] for r in going["losses"]] == [2, 4]
    assert [r["step"] for r in going["validation"]] == [4]
    last = progress(out)
    assert (last["steps"], last["seconds_left"]) == (8, None)
    assert {"loss", "loss/spiders", "loss/birds", "lr"} <= set(last["losses"][-1])
    assert (last["process"], last["machine"]) == (os.getpid(), platform.node())
    assert last["began"] <= last["updated"] <= time.time()


def test_an_interrupted_run_says_so_and_its_resumption_goes_on(make_recipe, tmp_path, monkeypatch):
    after = Interrupt.on_train_batch_end

    def stop(self, trainer, module, *more):
        self._told = trainer.global_step == 4
        after(self, trainer, module, *more)

    monkeypatch.setattr(Interrupt, "on_train_batch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(make_recipe(), tmp_path / "m", log=False)
    assert (progress(tmp_path / "m")["state"], progress(tmp_path / "m")["step"]) == (
        "interrupted",
        4,
    )
    monkeypatch.setattr(Interrupt, "on_train_batch_end", after)
    pretrain(make_recipe(), tmp_path / "m", resume=True, log=False)
    last = progress(tmp_path / "m")
    assert last["state"] == "trained"
    assert [r["step"] for r in last["losses"]] == [2, 4, 6, 8]


def test_a_failed_run_says_why(make_recipe, tmp_path, monkeypatch):
    from sfm.train.module import TrainingModule

    def fail(self, *more):
        raise RunError("energy of web-3 is not finite")

    monkeypatch.setattr(TrainingModule, "training_step", fail)
    with pytest.raises(RunError):
        pretrain(make_recipe(), tmp_path / "m", log=False)
    assert progress(tmp_path / "m")["state"] == "failed"
    assert "web-3 is not finite" in progress(tmp_path / "m")["error"]


def test_a_file_that_cannot_be_written_stops_no_run(make_recipe, tmp_path, monkeypatch):
    def full(path, value):
        raise RunError("the disk is full")

    monkeypatch.setattr(watched, "write_json", full)
    assert (pretrain(make_recipe(), tmp_path / "m", log=False) / "config.json").is_file()
