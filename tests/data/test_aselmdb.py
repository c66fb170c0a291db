"""ASE's LMDB databases, where their package is installed (`pip install 'sfm-hub[aselmdb]'`)."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from sfm.cli import main
from sfm.data import ase_db
from sfm.data.convert import Item, read_items, write_items
from sfm.data.sample import Sample


def crystal(**changes) -> Sample:
    return Sample(
        id="a crystal",
        domain="crystals",
        level="PBE",
        group="parent",
        positions=[[0, 0, 0.1], [1.1, 0.2, 0.3]],
        types=[14, 8],
        cell=[[3, 0, 0], [0.1, 3, 0], [0, 0.2, 4]],
        pbc=[True, True, False],
        velocities=np.full((2, 3), 0.1 / 3),
        fixed=[[True, True, True], [False, False, False]],
        conditions={"charge": 1.0, "3": 0.5},
        labels={
            "energy": np.array(-14.5 / 3),
            "forces": np.full((2, 3), 1 / 3),
            "stress": np.arange(9.0).reshape(3, 3),
            "own": np.zeros((0, 3)),
            "7": np.arange(4, dtype=np.int32),
            "yes": np.array([True, False]),
        },
        extras={"homo": np.array(-3), "single": np.ones(2, np.float32) / 3},
    ).replace(**changes)


def test_it_needs_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ase_db_backends", None)
    monkeypatch.setitem(sys.modules, "ase_db_backends.aselmdb", None)
    (tmp_path / "a.aselmdb").write_bytes(b"anything")
    write_items(tmp_path / "a.db", [Item(crystal())])
    for words in (["a.aselmdb", "b.db"], ["a.db", "b.aselmdb"]):
        assert main(["dataset", "convert", *(str(tmp_path / word) for word in words)]) == 2
        error = capsys.readouterr().err.strip()
        assert "pip install 'sfm-hub[aselmdb]'" in error
        assert "\n" not in error
    assert not (tmp_path / "b.aselmdb").exists()


def test_rows_come_back_exactly_and_ase_reads_them(tmp_path, monkeypatch, assert_same):
    backend = pytest.importorskip("ase_db_backends.aselmdb")
    monkeypatch.setattr(ase_db, "TURN", 3)
    path = tmp_path / "a.aselmdb"
    items = [Item(crystal(id=f"{i}", level="PBE" if i else None), "test") for i in range(8)]
    assert write_items(path, items) == len(items)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    back = read_items(path)
    for item, other in zip(items, back, strict=True):
        assert_same(item.sample, other.sample)
        assert item.split == other.split
    database = backend.LMDBDatabase(path, readonly=True)
    assert len(database) == len(items)
    atoms = database.get(5).toatoms()
    assert atoms.get_potential_energy() == items[4].sample.labels["energy"]
    np.testing.assert_array_equal(atoms.get_velocities() != 0, True)


def test_rows_of_others_are_read(tmp_path):
    backend = pytest.importorskip("ase_db_backends.aselmdb")
    path = tmp_path / "theirs.aselmdb"
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]])
    atoms.calc = SinglePointCalculator(atoms, energy=-7.5, forces=np.ones((2, 3)))
    with backend.LMDBDatabase(path, use_lock_file=False) as database:
        database.write(atoms, key_value_pairs={"charge": -1}, data={"moment": np.ones(3)})
    (item,) = read_items(path, domain="molecules")
    assert item.sample.conditions == {"charge": -1.0}
    assert float(item.sample.labels["energy"]) == -7.5
    np.testing.assert_array_equal(item.sample.extras["moment"], np.ones(3))


def test_damage_is_one_line(tmp_path, capsys):
    pytest.importorskip("ase_db_backends.aselmdb")
    path = tmp_path / "a.aselmdb"
    write_items(path, [Item(crystal(id=str(i))) for i in range(60)])
    whole = path.read_bytes()
    for cut in (b"", b"no database", whole[: len(whole) // 2], whole[:5000]):
        path.write_bytes(cut)
        assert main(["dataset", "convert", str(path), str(tmp_path / "b.npz")]) == 2
        error = capsys.readouterr().err
        assert path.name in error
        assert "Traceback" not in error
