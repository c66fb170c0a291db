"""Independent jobs: in order, failures named, the others kept."""

from __future__ import annotations

import importlib

import pytest

from sfm.data.labelling import label_all, pool
from sfm.errors import InputError, RunError


def half(number: int) -> float:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number / 2


def test_results_are_in_order_and_progress_is_reported():
    lines: list[str] = []
    results = label_all(half, [4, 2, 0], ["a", "b", "c"], report=lines.append)
    assert results == [2.0, 1.0, 0.0]
    assert lines == ["[1/3] a: done", "[2/3] b: done", "[3/3] c: done"]
    assert label_all(half, [], []) == []


def test_a_failure_stops_nobody_and_is_named():
    lines: list[str] = []
    with pytest.raises(RunError, match="2 of 4 jobs failed, the others are kept; b: ValueError: 1"):
        label_all(half, [2, 1, 3, 4], ["a", "b", "c", "d"], report=lines.append)
    assert lines[-1] == "[4/4] d: done"


# workers import it, and nothing else, by name
KILLED_AT_FIRST = """
import os, signal
from pathlib import Path

def half(job):
    number, folder = job
    mark = Path(folder) / str(number)
    if number == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number / 2
"""


@pytest.mark.slow
def test_a_killed_worker_loses_nothing(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    (tmp_path / "killed_at_first.py").write_text(KILLED_AT_FIRST)
    monkeypatch.syspath_prepend(tmp_path)
    function = importlib.import_module("killed_at_first").half
    marks = tmp_path / "marks"
    marks.mkdir()
    jobs = [(n, str(marks)) for n in range(6)]
    lines: list[str] = []
    halves = label_all(function, jobs, list("abcdef"), workers=2, report=lines.append)
    assert halves == [n / 2 for n in range(6)]
    assert [mark.name for mark in marks.iterdir()] == ["1"]  # its process was killed
    assert sorted(line[-7:] for line in lines) == [f"{name}: done" for name in "abcdef"]


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no Dask scheduler answers"), pool(cluster="nonsense"):
        pass
