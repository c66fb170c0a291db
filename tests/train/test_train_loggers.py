"""Loggers by name, the real ones where they are installed."""

from __future__ import annotations

import pytest

from sfm.cli import main
from sfm.errors import InputError
from sfm.train import loggers
from sfm.train.pretrain import pretrain


def run(make_recipe, out, names, monkeypatch):
    recipe = make_recipe(steps=4)
    training = recipe.training.model_copy(update={"loggers": tuple(names), "log_every": 2})
    return pretrain(recipe.model_copy(update={"training": training}), out)


def test_csv_alone(make_recipe, tmp_path, monkeypatch):
    out = run(make_recipe, tmp_path / "m", ["csv"], monkeypatch)
    assert [p.name for p in out.glob("run/logs/*/*")] == ["metrics.csv"]
    assert "loss" in (out / "run/logs/start_0/metrics.csv").read_text()


def test_wandb_offline(make_recipe, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    out = run(make_recipe, tmp_path / "m", ["wandb"], monkeypatch)
    assert list(out.glob("run/wandb/offline-run-*"))


def test_trackio_keeps_what_it_is_told(make_recipe, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run(make_recipe, tmp_path / "m", ["trackio"], monkeypatch)
    assert list((tmp_path / "trackio").rglob("*"))


def test_one_that_is_not_installed_is_refused_before_the_work(make_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "NEEDS", {"wandb": "no_such_package"})
    with pytest.raises(InputError, match="needs the package 'no_such_package': pip install"):
        run(make_recipe, tmp_path / "m", ["wandb"], monkeypatch)
    assert not (tmp_path / "m" / "config.json").exists()


def test_an_unknown_one_is_refused_by_name(capsys):
    assert main(["pretrain", "demo", "--logger", "tensorbord", "--dry-run"]) == 2
    assert "did you mean 'tensorboard'" in capsys.readouterr().err.lower()
