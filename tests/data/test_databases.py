"""ASE databases and HDF5: loss-free both ways, ASE sees the same numbers, nothing half-written."""

from __future__ import annotations

import json
from itertools import pairwise

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from sfm.cli import main
from sfm.data import ase_db
from sfm.data.convert import read_items, write_items
from sfm.data.packing import Item
from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning

SUFFIXES = [".db", ".h5", ".hdf5"]


def water(**changes) -> Sample:
    return Sample(
        id="water",
        domain="molecules",
        level="PBE",
        positions=[[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]],
        types=[8, 1, 1],
        conditions={"charge": 1.0, "spin": 1.0},
        labels={"energy": np.array(-14.5), "own_tensor": np.arange(9.0).reshape(3, 3)},
    ).replace(**changes)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_zero_velocities_empty_cells_fields_and_extras_are_kept(tmp_path, suffix, assert_same):
    sample = water(
        cell=np.zeros((3, 3)),
        velocities=np.zeros((3, 3)),
        fixed=np.zeros((3, 3), bool),
        fields={"own": np.ones((2, 2), np.float32)},
        extras={"homo/1 .": np.array(-3)},
        labels={
            "stress": np.arange(9.0).reshape(3, 3),  # not symmetric
            "energy": np.array(-3),  # a whole number
            "energy@GFN2-xTB": np.array(1.5),
            ".": np.zeros((0, 3)),
        },
    )
    path = tmp_path / f"a{suffix}"
    write_items(path, [Item(sample, "train"), Item(water(id="next"))])
    first, second = (i.sample for i in read_items(path))
    assert_same(sample, first)
    assert_same(water(id="next"), second)


def test_hdf5_says_names_and_units_and_a_changed_unit_is_converted(tmp_path):
    path = tmp_path / "a.h5"
    write_items(path, [Item(water())])
    with h5py.File(path, "a") as file:
        assert file["atoms/positions"].attrs["unit"] == "angstrom"
        assert file["labels/energy"].attrs["unit"] == "eV"
        assert "unit" not in file["labels/own_tensor"].attrs
        file["labels/energy"].attrs["unit"] = "hartree"
        file["atoms/positions"].attrs["unit"] = "nm"
        file["labels/own_tensor"].attrs["unit"] = "debye"
    with pytest.warns(InputWarning, match="'own_tensor' is in debye, as no installed plugin"):
        (item,) = read_items(path)
    assert item.sample.labels["energy"] == pytest.approx(-14.5 * 27.211386245988)
    np.testing.assert_allclose(item.sample.positions, 10 * water().positions)


def test_a_database_holds_its_units_and_what_others_add(tmp_path):
    path = tmp_path / "a.db"
    write_items(path, [Item(water())])
    database = connect(path)
    assert database.metadata["sfm"]["units"] == {"energy": "eV"}
    database.update(1, homo=-5.25, total_charge=-1)
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1]])
    atoms.calc = SinglePointCalculator(atoms, energy=-7.5)
    database.write(atoms, key_value_pairs={"charge": -1})
    first, second = (i.sample for i in read_items(path))
    assert first.conditions == {"charge": -1.0, "spin": 1.0}
    assert first.extras == {"homo": -5.25}
    assert (second.conditions, second.labels) == ({"charge": -1.0}, {"energy": -7.5})


def test_a_foreign_database_states_charge_and_numbers_by_pairs_and_data(tmp_path):
    """ASE's own `row.charge` is the sum of initial charges, whatever the pair says."""
    path = tmp_path / "a.db"
    pairs = {"charge": -1, "gap": 2.5}
    connect(path).write(
        Atoms("OH", [[0, 0, 0], [0, 0, 1]]), key_value_pairs=pairs, data={"moment": np.ones(3)}
    )
    (item,) = read_items(path)
    assert item.sample.conditions == {"charge": -1.0}
    assert item.sample.extras["gap"] == 2.5
    np.testing.assert_array_equal(item.sample.extras["moment"], np.ones(3))


def test_a_database_is_read_in_pages_with_what_is_gone_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(ase_db, "TURN", 3)
    path = tmp_path / "a.db"
    write_items(path, [Item(water(id=str(i))) for i in range(12)])
    assert [i.sample.id for i in read_items(path)] == [str(i) for i in range(12)]
    connect(path).delete([2, 3, 4, 9])
    left = [str(i) for i in range(12) if i + 1 not in (2, 3, 4, 9)]
    assert [i.sample.id for i in read_items(path)] == left


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_a_half_written_file_never_stays(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_items(path, [Item(water())])
    before = path.read_bytes()

    def broken():
        yield Item(water(id="other"))
        raise InputError("the second is bad")

    with pytest.raises(InputError, match="the second is bad"):
        write_items(path, broken())
    with pytest.raises(InputError, match="nothing to write"):
        write_items(path, [])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "target", "said"),
    [
        ({"domain": "fluids"}, "a.db", "its lengths are in '1', which an ASE database cannot"),
        ({"positions": np.zeros((0, 3)), "types": []}, "a.db", "no atoms.*write .h5"),
        ({"labels": {"energy": np.array("low")}}, "a.db", "'energy' holds what is no number"),
        ({"labels": {"energy": np.array("low")}}, "a.h5", "'energy' holds what is no number"),
        ({"level": "a\0b"}, "a.h5", "level .* HDF5 cannot hold"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, change, target, said):
    with pytest.raises(InputError, match=said) as refusal:
        write_items(tmp_path / target, [Item(water(**change))])
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / target).exists()


def test_one_name_in_two_units_is_refused_by_hdf5(tmp_path):
    mixed = [Item(water()), Item(water(id="flow", domain="fluids"))]
    with pytest.raises(InputError, match="flow: its 'positions' has another unit"):
        write_items(tmp_path / "a.h5", mixed)


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
def test_damage_is_one_line_with_exit_code_2(tmp_path, capsys, suffix):
    path = tmp_path / f"a{suffix}"
    write_items(path, [Item(water(id=str(i))) for i in range(40)])
    whole = path.read_bytes()
    if suffix == ".h5":
        with h5py.File(path, "a") as file:
            file["atoms/positions/shape"][3] = [-1, 3]
        assert main(["dataset", "convert", str(path), str(tmp_path / "b.npz")]) == 2
        assert "'atoms/positions' does not fit together" in capsys.readouterr().err
    for part in (0.4, 0.8):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert main(["dataset", "convert", str(path), str(tmp_path / "b.npz")]) == 2
        error = capsys.readouterr().err
        assert path.name in error
        assert "Traceback" not in error


def test_the_command_converts_every_way_and_adds_a_level(tmp_path, capsys, assert_same):
    write_items(tmp_path / "a.extxyz", [Item(water(level=None), "train"), Item(water(id="b"))])
    names = ["a.extxyz", "b.db", "c.h5", "d.npz", "e.hdf5", "f.db", "g.xyz"]
    words = ["--level", "PBE", "--json"]
    for source, target in pairwise(names):
        code = main(["dataset", "convert", *(str(tmp_path / n) for n in (source, target)), *words])
        assert (code, json.loads(capsys.readouterr().out)["samples"]) == (0, 2)
    back = read_items(tmp_path / "g.xyz")
    assert [(i.sample.level, i.split) for i in back] == [("PBE", "train"), ("PBE", None)]
    assert_same(water(), back[0].sample)
