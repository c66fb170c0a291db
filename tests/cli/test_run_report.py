"""What `sfm simulate` says of a search for one answer: the answer first, its history beside it."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from sfm.cli import main
from sfm.cli.progress import ProgressLines
from sfm.progress import listening, report
from sfm.quantity import Quantity
from sfm.simulate import Setting, Simulator


class Root(Simulator):
    """Newton's method for x^2 = 2; one system, so that its answer has no batch axis."""

    part = "roots/two"
    summary = "square root"
    observables = (Quantity("root", "1"), Quantity("table", "1"), Quantity("slope", "1"))
    settings_spec = (Setting("start", 1.0, summary="first guess"),)
    default_steps = 4
    citations = ("Newton",)

    def state(self, sample=None):
        return torch.tensor([self.start, 0.0], dtype=self.dtype)

    def forward(self, state, steps=1):
        for _ in range(steps):
            state = torch.stack([0.5 * (state[0] + 2 / state[0]), state[1] + 1])
        return state

    def time(self, state):
        return float(state[1])

    def converged(self, state):
        return bool((state[0] ** 2 - 2).abs() < 1e-9)

    def observe(self, state):
        x = state[:1]
        slope = 2 * x if self.converged(state) else x * torch.nan
        return {"root": x, "table": x.expand(100), "slope": slope}

    def result(self, trajectory):
        return {n: x[0] if len(x) == 1 else x for n, x in super().result(trajectory).items()}


@pytest.fixture
def roots(monkeypatch, tmp_path):
    from sfm import registry

    monkeypatch.chdir(tmp_path)
    part = registry.Part("roots", "roots", "simulators", "two", f"{__name__}:Root")
    monkeypatch.setattr(registry, "find", lambda kind, name: part)
    monkeypatch.setattr(registry.Part, "load", lambda self: Root)


def run(capsys, *words):
    code = main(["simulate", "roots/two", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_answer_comes_first(roots, capsys):
    code, out, _ = run(capsys, "--json", "--output", "a.npz")
    said = json.loads(out)
    assert code == 0
    assert list(said) == ["part", "converged", "quantities", "history", "warnings"]
    assert said["converged"] is True
    root = said["quantities"]["root"]
    assert (root["unit"], root["shape"]) == ("1", [])
    assert root["value"] == pytest.approx(2**0.5, abs=1e-9)
    history = said["history"]
    assert history["root"]["value"][0] == [1.0]
    assert history["iteration"]["shape"] == [5]
    assert set(history) == {"iteration", "root"}  # no large arrays, nothing known at the end only
    assert said["quantities"]["table"]["path"] == "a.npz"
    with np.load("a.npz") as file:
        assert file["root"] == root["value"]
        assert file["table"].shape == (100,)
        assert file["history/table"].shape == (5, 100)
        assert file["history/root.unit"] == "1"


def test_the_table_gives_nine_digits_and_the_history_on_request(roots, capsys):
    code, out, err = run(capsys)
    assert code == 0
    assert out.splitlines()[0].split() == ["quantity", "value", "unit", "shape"]
    assert out.splitlines()[1].split() == ["root", "1.41421356", "1"]
    assert "converged after 4 iterations" in err
    assert "1.41666667" not in out
    assert "1.41666667" in run(capsys, "--history")[1]


def test_no_answer_is_a_failure_unless_so_many_steps_were_asked_for(roots, capsys):
    code, out, _ = run(capsys, "--json", "--set", "start=1e9")
    assert (code, json.loads(out)["converged"]) == (1, False)
    code, out, _ = run(capsys, "--json", "--steps", 2)
    assert (code, json.loads(out)["converged"]) == (0, False)
    assert "not converged after 2 iterations" in run(capsys, "--steps", 2)[2]


# ------------------------------------------------------------------ progress


def test_progress_is_free_where_nobody_listens():
    report("work", 1, 2)
    seen = []
    with listening(seen.append):
        report("work", 1, 2, note="halfway")
    report("work", 2, 2)
    assert [(p.work, p.done, p.total, p.note) for p in seen] == [("work", 1, 2, "halfway")]


def test_progress_lines_say_what_is_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("sfm.cli.progress.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    with listening(ProgressLines(stream)):
        for done in range(11):
            report("a/b: step", done, 10)
            clock[0] += 1.5
    assert stream.getvalue().splitlines() == [
        "a/b: step 2 of 10, 12 s left",
        "a/b: step 9 of 10, 2 s left",
    ]
