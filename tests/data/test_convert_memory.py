"""Conversion of many structures: every format is read and written with few of them in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from sfm.data.convert import Item, iterate_items, write_items
from sfm.data.folders import write_folder
from sfm.data.sample import Sample

STEPS = ("a.h5", "folder", "d.h5", "b.db", "c.extxyz")
MEASURED = """
import resource, sys
from sfm.cli import main
from sfm.train.memory import peak_memory
code = main(["dataset", "convert", sys.argv[1], sys.argv[2]])
peak, used = peak_memory(), resource.getrusage(resource.RUSAGE_SELF)
print(peak // 2**20, round(used.ru_utime + used.ru_stime))
sys.exit(code)
"""


def structures(count: int) -> Iterator[Item]:
    """Of 8 to 16 atoms with energy and forces, the same for every call."""
    rng = np.random.default_rng(0)
    for i in range(count):
        n = 8 + i % 9
        sample = Sample(
            id=f"s{i}",
            domain="molecules",
            level="PBE",
            group=f"g{i // 10}",
            positions=rng.normal(size=(n, 3)),
            types=rng.integers(1, 10, size=n),
            labels={"energy": rng.normal(size=()), "forces": rng.normal(size=(n, 3))},
        )
        yield Item(sample, ("train", "validation", "test")[i // 10 % 3])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no ru_maxrss")
def test_a_hundred_thousand_structures_take_less_than_a_gigabyte(tmp_path, monkeypatch):
    """Peak memory of a process of its own, from one format to the next; nothing is lost."""
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    count = 100_000
    write_items(tmp_path / STEPS[0], structures(count))
    for source, target in pairwise(STEPS):
        words = [sys.executable, "-c", MEASURED, str(tmp_path / source), str(tmp_path / target)]
        run = subprocess.run(words, capture_output=True, text=True, check=True)
        peak, seconds = run.stdout.split()[-2:]
        print(f"{source} to {target}: {peak} MiB, {seconds} CPU s")
        assert int(peak) < 1000, (source, target, peak)
    first = {item.sample.id: item for item in structures(1000)}
    seen = 0
    for item in iterate_items(tmp_path / STEPS[-1]):
        seen += 1
        if (before := first.get(item.sample.id)) is not None:
            assert (item.split, item.sample.group) == (before.split, before.sample.group)
            np.testing.assert_array_equal(item.sample.positions, before.sample.positions)
            np.testing.assert_array_equal(
                item.sample.labels["forces"], before.sample.labels["forces"]
            )
    assert seen == count


def test_a_folder_is_written_without_holding_its_samples(tmp_path):
    """At no time are more samples alive than a few, whatever their number."""
    import weakref

    alive, most = weakref.WeakSet(), 0

    def watched() -> Iterator[Item]:
        nonlocal most
        for item in structures(200):
            alive.add(item.sample)
            most = max(most, len(alive))
            yield item

    assert write_folder(tmp_path / "folder", watched()) == 200
    assert most <= 3


def test_a_database_is_read_through_one_connection(tmp_path, monkeypatch):
    """ASE opens one for each question, of up to 2 MB, and leaves it to the garbage collector.

    Rows that were deleted leave gaps in the numbers, at the ends of answers too.
    """
    from ase.db.sqlite import SQLite3Database

    from sfm.data import ase_db

    path = tmp_path / "a.db"
    write_items(path, structures(95))
    database = ase_db.connected(path)
    database.delete([1, 10, 11, 12, 50, 95])
    opened, connect = [], SQLite3Database._connect
    monkeypatch.setattr(ase_db, "TURN", 10)
    monkeypatch.setattr(SQLite3Database, "_connect", lambda d: opened.append(1) or connect(d))
    ids = [item.sample.id for item in iterate_items(path)]
    assert ids == [f"s{i}" for i in range(95) if i + 1 not in (1, 10, 11, 12, 50, 95)]
    assert len(opened) <= 2  # the metadata's and the rows'
    opened.clear()
    reading = iterate_items(path)
    next(reading)
    reading.close()  # of a reader that stops early
    assert len(opened) <= 2
    path.unlink()
    write_items(path, structures(10))  # as many as one answer has
    assert len(list(iterate_items(path))) == 10
