"""Training runs as the page sees them: files of a folder, read while others write them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
from fastapi.testclient import TestClient

from sfm.cli import main
from sfm.data.bundled import models_dir
from sfm.errors import PluginError
from sfm.serve.app import create_app
from sfm.serve.training import Training


def write(folder: Path, **changes: object) -> None:
    body = {
        "title": "pretraining demo", "state": "running", "error": "", "step": 30, "steps": 100,
        "seconds_left": 70.0, "updated": time.time(), "process": os.getpid(),
        "machine": platform.node(), "losses": [{"step": 10, "loss": 2.0, "loss/fluids": 2.0}],
        "validation": [],
    }  # fmt: skip
    (folder / "run").mkdir(parents=True, exist_ok=True)
    (folder / "run" / "progress.json").write_text(json.dumps({**body, **changes}))


def states(folder: Path) -> dict[str, str]:
    return {row["name"]: row["state"] for row in Training([folder]).rows()}


def test_running_ended_and_dead_runs(tmp_path):
    write(tmp_path / "a")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write(tmp_path / "deep" / "b", process=gone.pid)
    write(tmp_path / "c", state="interrupted")
    write(tmp_path / "d", machine="elsewhere")
    write(tmp_path / "e", machine="elsewhere", updated=time.time() - 3600)
    assert states(tmp_path) == {
        "a": "running",
        "deep/b": "died",
        "c": "interrupted",
        "d": "running",
        "e": "silent",
    }
    left = {row["name"]: row["seconds_left"] for row in Training([tmp_path]).rows()}
    assert (left["a"], left["deep/b"]) == (70.0, None)


def test_a_model_that_is_done_shows_its_losses_and_metrics():
    training = Training([models_dir()])
    key = next(r["key"] for r in training.rows() if r["name"] == "sfm-tiny")
    run = training.one(key)
    assert run["state"] == "finished"
    assert run["step"] > 1000
    assert {"loss/molecules", "loss/fluids"} <= set(run["losses"][-1])
    assert all(m["unit"] for m in run["metrics"])


def test_a_request_reads_each_file_once(tmp_path, monkeypatch):
    from sfm.serve import training as module

    write(tmp_path / "a")
    (tmp_path / "a" / "training.json").write_text("{}")
    read: list[str] = []
    whole = module.read_object
    monkeypatch.setattr(module, "read_object", lambda path: read.append(path.name) or whole(path))
    training = Training([tmp_path])
    (row,) = training.rows()
    assert sorted(read) == ["progress.json", "training.json"]
    assert training.one(row["key"])["losses"]
    assert sorted(read) == ["progress.json", "progress.json", "training.json", "training.json"]


def test_nothing_outside_the_folders_is_read(tmp_path):
    write(tmp_path / "outside")
    inside = tmp_path / "inside"
    write(inside / "a")
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "b" / "run").mkdir(parents=True)
    (inside / "b" / "run" / "progress.json").symlink_to(tmp_path / "outside/run/progress.json")
    training = Training([inside])
    names = {row["name"]: row for row in training.rows()}
    assert "link" not in names
    assert "state" not in names.get("b", {})  # a link says nothing
    for key in ("../outside", str(tmp_path / "outside"), "", "a", "%2e%2e"):
        with pytest.raises(PluginError):
            training.one(key)


def test_damaged_files_are_rows_that_say_so(tmp_path):
    (tmp_path / "a" / "run").mkdir(parents=True)
    (tmp_path / "a" / "run" / "progress.json").write_text("{")
    (row,) = Training([tmp_path]).rows()
    assert row["state"] == "unreadable"
    assert str(tmp_path) not in row["error"]
    write(tmp_path / "a", process="x", updated=None)
    assert states(tmp_path) == {"a": "died"}


def test_the_routes(tmp_path):
    write(tmp_path / "a")
    app = create_app(["sfm-tiny"], watch=[tmp_path])
    client = TestClient(app, base_url="http://127.0.0.1")  # not entered: no process is started
    (row,) = client.get("/api/training").json()["runs"]
    assert client.get(f"/api/training/{row['key']}").json()["losses"][0]["loss/fluids"] == 2.0
    refused = client.get("/api/training/..%2f..%2fetc")
    assert refused.status_code == 404
    assert client.get("/api/training/no-such-key").json()["exit_code"] == 3
    unwatched = TestClient(create_app(["sfm-tiny"]), base_url="http://127.0.0.1")
    assert unwatched.get("/api/training").json() == {"watching": False, "runs": []}


def test_a_folder_that_is_none_is_refused(tmp_path, capsys):
    assert main(["serve", "--watch", str(tmp_path / "no")]) == 2
    assert "is no folder" in capsys.readouterr().err
