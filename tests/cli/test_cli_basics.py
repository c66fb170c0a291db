"""The command line: streams, exit codes, suggestions."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from sfm import cli
from sfm.cli import main
from sfm.cli.parser import parse, settings_apart
from sfm.cli.values import parse_settings, parse_value
from sfm.data.atomic import atomic
from sfm.errors import HubError, InputError, PluginError, RunError


def run(capsys, *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_and_version(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(command in out for command in cli.COMMANDS)
    assert run(capsys)[0] == 0
    assert run(capsys, "--version")[1].startswith("sfm ")


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_help(capsys, command):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert "usage: sfm" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plgin"], "no command 'plgin'. Did you mean 'plugin'?"),
        (["plugin", "lst"], "Did you mean 'list'?"),
        (["models", "--jsn"], "Did you mean '--json'?"),
        (["predict"], "the following arguments are required: MODEL, INPUT"),
        (["simulate", "x", "--steps", "many"], "invalid int value: 'many'"),
        (["--unknown"], "--unknown"),
    ],
)
def test_usage_mistakes_are_one_line_and_code_2(capsys, words, said):
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert said in err
    assert err.startswith("sfm: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunError("diverged"), 1),
        (InputError("bad"), 2),
        (PluginError("gone"), 3),
        (HubError("offline"), 4),
        (ZeroDivisionError("oops"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(capsys, monkeypatch, error, code):
    def fail(_):
        raise error

    monkeypatch.setattr("sfm.cli.doctor.run", fail)
    status, out, err = run(capsys, "doctor")
    assert (status, out) == (code, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    if isinstance(error, ZeroDivisionError):
        assert "--debug" in err


def test_debug_raises(monkeypatch):
    def fail(_):
        raise InputError("bad")

    monkeypatch.setattr("sfm.cli.doctor.run", fail)
    with pytest.raises(InputError):
        main(["doctor", "--debug"])


def test_what_a_library_prints_does_not_reach_stdout(capsys, monkeypatch):
    from sfm.cli.output import emit

    def chatty(_):
        print("noise")
        emit("result")

    monkeypatch.setattr("sfm.cli.doctor.run", chatty)
    code, out, err = run(capsys, "doctor")
    assert (code, out) == (0, "result\n")
    assert "noise" in err


def test_what_a_c_library_prints_does_not_reach_stdout(tmp_path):
    import subprocess

    code = (
        "import os, sfm.cli.doctor as d\n"
        "from sfm.cli.output import emit\n"
        "from sfm.cli import main\n"
        "d.run = lambda a: (os.write(1, b'noise'), emit('result'))[1]\n"
        "main(['doctor'])\nprint('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "result\nafter\n"
    assert "noise" in done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E5", -2e5),
        (".5", 0.5),
        ("-.5", -0.5),
        ("[+.5, -.5e1]", [0.5, -5.0]),
        ("12", 12),
        ("true", True),
        ("[1, 1e-2]", [1, 0.01]),
        ("PBE/def2-SVP", "PBE/def2-SVP"),
        ("null", None),
        ("a: b: c", "a: b: c"),
    ],
)
def test_values(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_settings():
    assert parse_settings(["a=1", "b=x=y"]) == {"a": 1, "b": "x=y"}
    for bad in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(InputError, match="--set"):
            parse_settings(bad)


def test_settings_may_follow_one_another():
    words = ["x", "--set", "a=1", "b=2", "--json", "--set", "c=3", "f.md"]
    expected = ["x", "--set", "a=1", "--set", "b=2", "--json", "--set", "c=3", "f.md"]
    assert settings_apart(words) == expected
    _, arguments = parse(["fit", "--set", "a=1", "b=2", "a/b", "--data", "f.npz", "--param", "a"])
    assert (arguments.set, arguments.simulator) == (["a=1", "b=2"], "a/b")


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with atomic(path) as scratch:
        scratch.write_text("first")
    with pytest.raises(RuntimeError), atomic(path) as scratch:  # noqa: PT012
        scratch.write_text("half")
        raise RuntimeError
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    with pytest.raises(InputError, match="is a folder"), atomic(tmp_path):
        pass


def test_doctor(capsys):
    code, out, _ = run(capsys, "doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["versions"]["torch"] != "missing"
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert needed == set(report["versions"]) - {"sfm", "python"}
    assert {"device", "environment", "cache", "hub", "plugins", "models", "to_do"} <= set(report)


def test_doctor_says_what_the_client_of_the_hub_does(capsys, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://mirror.example")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", "hf_something")
    hub = json.loads(run(capsys, "doctor", "--json")[1])["hub"]
    assert hub["endpoint"] == "http://mirror.example"
    assert hub["mode"].startswith("offline")
    assert hub["token"] == "present"


def test_models(capsys):
    code, out, _ = run(capsys, "models", "--json")
    assert code == 0
    assert isinstance(json.loads(out)["models"], list)


def test_what_a_run_does_not_use_is_said_once(capsys):
    """An `InputWarning` is one line of stderr, or an entry of a list; other warnings pass by."""
    import warnings

    from sfm.cli.output import input_warnings
    from sfm.errors import InputWarning

    with input_warnings():
        for _ in range(2):
            warnings.warn("a.h5: not used:\n pressure", InputWarning, stacklevel=1)
    assert capsys.readouterr().err == "sfm: warning: a.h5: not used: pressure\n"
    told: list[str] = []
    with input_warnings(told):
        warnings.warn("b", InputWarning, stacklevel=1)
        with pytest.warns(UserWarning, match="another"):
            warnings.warn("another", UserWarning, stacklevel=1)
    assert told == ["b"]
    assert capsys.readouterr().err == ""
