"""Independent jobs: in order, failures named, the others kept."""

from __future__ import annotations

import pytest

from sfm.data.labelling import label_all, pool
from sfm.errors import InputError, RunError


def half(number: int) -> float:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number / 2


def test_results_are_in_order_and_progress_is_reported():
    lines: list[str] = []
    found = label_all(half, [4, 2, 0], ["a", "b", "c"], report=lines.append)
    assert found == [2.0, 1.0, 0.0]
    assert lines == ["[1/3] a: done", "[2/3] b: done", "[3/3] c: done"]
    assert label_all(half, [], []) == []


def test_a_failure_stops_nobody_and_is_named():
    lines: list[str] = []
    with pytest.raises(RunError, match="2 of 4 jobs failed, the others are kept; b: ValueError: 1"):
        label_all(half, [2, 1, 3, 4], ["a", "b", "c", "d"], report=lines.append)
    assert lines[-1] == "[4/4] d: done"


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no Dask scheduler answers"), pool(cluster="nonsense"):
        pass
