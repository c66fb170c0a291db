"""`sfm plugin new` writes a package that installs, passes its own tests and the kit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from sfm.cli import main
from sfm.errors import InputError
from sfm.scaffold import write_plugin


@pytest.mark.parametrize("name", ["Waves", "1waves", "waves-", "wa ves", "a--b"])
def test_bad_names(name, tmp_path):
    with pytest.raises(InputError, match="lower case"):
        write_plugin(name, folder=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_plugin("waves", folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_nothing_is_left_where_writing_failed(tmp_path, monkeypatch):
    def full(script):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sfm.scaffold._build", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left"):
        write_plugin("waves", folder=tmp_path / "waves")
    assert not (tmp_path / "waves").exists()


@pytest.mark.parametrize("parts", [["simulator"], ["dataset"], ["reader", "metric"], ["encoder"]])
def test_only_the_parts_that_were_asked_for(parts, tmp_path):
    """What is left imports nothing that is not there, and the plugin names what is there."""
    folder = write_plugin("waves", folder=tmp_path / "p", parts=parts)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*.py")}
    text = (folder / "sfm_waves" / "__init__.py").read_text()
    plugin = compile(text, "plugin", "exec")
    assert plugin is not None
    targets = re.findall(r'"sfm_waves\.([\w.]+):', text)
    assert targets
    assert all(f"sfm_waves/{t.replace('.', '/')}.py" in names for t in targets)
    imported = {
        module
        for path in folder.rglob("*.py")
        for module in re.findall(r"from sfm_waves\.([\w.]+) import", path.read_text())
    }
    assert all(f"sfm_waves/{m.replace('.', '/')}.py" in names for m in imported)
    assert ("sfm_waves/simulators/oscillator.py" in names) == ("simulator" in parts)
    assert not any("#@" in p.read_text() for p in folder.rglob("*.py"))


def test_an_unknown_part_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"no part is called 'simulater'.*Did you mean 'simulator'"
    ):
        write_plugin("waves", folder=tmp_path / "p", parts=["simulater"])


@pytest.mark.slow
def test_it_installs_and_passes(tmp_path, capsys):
    folder, target = tmp_path / "sfm-deep-waves", tmp_path / "site"
    assert main(["plugin", "new", "deep-waves", "--domain", "waves", "--out", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder)
    assert not list(folder.rglob("*@*"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    pip += ["--no-index", "--target", str(target), str(folder)]
    subprocess.run(pip, check=True, capture_output=True)
    assert (target / "sfm_deep_waves" / "datasets" / "clusters" / "data").is_dir()
    env = {
        **os.environ,
        "PYTHONPATH": str(target),
        "SFM_CACHE": str(tmp_path / "cache"),
        "SFM_PLUGINS": "deep-waves",
    }
    check = [sys.executable, "-m", "sfm", "plugin", "check", "deep-waves", "--json"]
    done = subprocess.run(check, capture_output=True, text=True, env=env)
    report = json.loads(done.stdout)
    failed = [c for c in report["checks"] if c["status"] == "failed"]
    assert done.returncode == 0, failed
    assert report["passed"] >= 48
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/test_oscillator.py"]
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
