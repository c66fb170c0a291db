"""Conversion loses nothing, whatever the way round."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from sfm.data.convert import read_items, write_items
from sfm.data.packing import Item
from sfm.data.sample import Sample
from sfm.data.storage import (
    GROUP,
    ID,
    SPLIT,
    TYPES,
    Column,
    open_dataset,
    positions_column,
    write_dataset,
)
from sfm.errors import InputError, InputWarning
from sfm.testing.distributions import install

LEVEL = "PBE/def2-SVP (it's mine)"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))


def make_items(periodic: bool, fields: bool = False) -> list[Item]:
    rng = np.random.default_rng(0)
    items = []
    for i in range(6):
        n = 2 + i % 3
        items.append(
            Item(
                Sample(
                    id=f"it's {i}",
                    domain="crystals" if periodic else "molecules",
                    level=LEVEL,
                    dataset="mine",
                    positions=rng.normal(size=(n, 3)) / 3,
                    types=rng.integers(1, 119, size=n),
                    cell=rng.normal(size=(3, 3)) + 5 * np.eye(3) if periodic else None,
                    pbc=(True, False, True) if periodic else False,
                    fields={"velocity": rng.normal(size=(2, 4, 4))} if fields else {},
                    conditions={"charge": float(i) / 7},
                    labels={
                        "energy": np.array(rng.normal() * 1e4),
                        "forces": rng.normal(size=(n, 3)),
                        "stress": rng.normal(size=(3, 3)),
                    },
                ),
                ("train", "validation", "test")[i % 3],
            )
        )
    return items


def same(a: Sample, b: Sample, *, dataset: bool = True) -> None:
    assert (a.id, a.domain, a.level) == (b.id, b.domain, b.level)
    assert not dataset or a.dataset == b.dataset
    np.testing.assert_array_equal(a.positions, b.positions)
    np.testing.assert_array_equal(a.types, b.types)
    np.testing.assert_array_equal(a.pbc, b.pbc)
    assert (a.cell is None) == (b.cell is None)
    if a.cell is not None:
        np.testing.assert_array_equal(a.cell, b.cell)
    assert dict(a.conditions) == dict(b.conditions)
    for mine, other in ((a.labels, b.labels), (a.fields, b.fields)):
        assert set(mine) == set(other)
        for name in mine:
            np.testing.assert_array_equal(mine[name], other[name])


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize(
    "way", [["a.extxyz"], ["a.npz"], ["folder"], ["a.npz", "folder", "b.extxyz"]]
)
def test_round_trip_is_exact(tmp_path, periodic, way):
    first = items = make_items(periodic)
    for name in way:
        write_items(tmp_path / name, items)
        items = read_items(tmp_path / name)
    by_id = {i.sample.id: i for i in items}
    assert len(items) == len(by_id) == len(first)
    for item in first:
        same(item.sample, by_id[item.sample.id].sample, dataset="folder" not in way)
        assert by_id[item.sample.id].split == item.split


def test_fields_go_to_npz_and_folders_but_not_to_xyz(tmp_path):
    items = make_items(True, fields=True)
    for name in ("a.npz", "folder"):
        write_items(tmp_path / name, items)
        by_id = {i.sample.id: i.sample for i in read_items(tmp_path / name)}
        same(items[0].sample, by_id[items[0].sample.id], dataset=False)
    with pytest.raises(InputError, match="do not fit into extended XYZ"):
        write_items(tmp_path / "a.extxyz", items)


def test_two_levels_of_one_system_are_one_row(tmp_path):
    base = make_items(False)[0].sample
    items = [
        Item(base.replace(id=f"x@{level}", level=level), "train") for level in ("PBE", "GFN2-xTB")
    ]
    write_items(tmp_path / "both", items)
    back = read_items(tmp_path / "both")
    assert [i.sample.id for i in back] == ["x@PBE", "x@GFN2-xTB"]


def test_what_a_folder_states_and_no_sample_holds_is_said(tmp_path):
    columns = [ID, SPLIT, GROUP, TYPES, positions_column(), Column("energy", "eV", "label", LEVEL)]
    row = {"id": "a", "split": "test", "group": "argon", TYPES.name: [18]}
    row |= {"positions[angstrom]": np.zeros((1, 3)), f"energy[eV]@{LEVEL}": -1.0}
    info = {"name": "mine", "domain": "molecules", "licence": "CC0-1.0"}
    write_dataset(tmp_path / "mine", columns, [row], info)
    with pytest.warns(InputWarning, match=r"no sample holds it: licence$") as said:
        (item,) = read_items(tmp_path / "mine")
    assert len(said) == 1
    assert (item.sample.dataset, item.sample.group, item.split) == ("mine", "argon", "test")


def test_the_group_goes_through_every_format_and_keeps_its_samples_in_one_split(tmp_path):
    base = make_items(True)[0].sample
    items = [Item(base.replace(id=f"{i}", group=f"parent {i // 5}")) for i in range(40)]
    items.append(Item(base.replace(id="alone")))
    for source, target in pairwise(["", "a.extxyz", "b.db", "c.h5", "d.npz", "e"]):
        write_items(tmp_path / target, read_items(tmp_path / source) if source else items)
    back = read_items(tmp_path / "e")
    expected = {i.sample.id: i.sample.group for i in items}
    assert {i.sample.id: i.sample.group for i in back} == expected
    splits = {(i.sample.group, i.split) for i in back if i.sample.group}
    assert len(splits) == 8
    assert len({split for _, split in splits}) > 1


def test_levels_of_one_system_meet_in_a_row_wherever_they_stand(tmp_path):
    items = [
        Item(i.sample.replace(level=level, id=f"{i.sample.id}@{level}"), i.split)
        for level in ("PBE", "GFN2-xTB")
        for i in make_items(False)
    ]
    assert write_items(tmp_path / "both", iter(items)) == len(items)
    data = open_dataset(tmp_path / "both")
    assert len(data) == len(items) == 2 * len(set(data.rows.tolist()))
    by_id = {i.sample.id: i.sample for i in read_items(tmp_path / "both")}
    for item in items:
        same(item.sample, by_id[item.sample.id], dataset=False)


def test_ase_reads_what_we_write(tmp_path):
    import warnings

    items = make_items(True)
    write_items(tmp_path / "a.extxyz", items)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ase.io import read

        frames = read(tmp_path / "a.extxyz", ":")
    for frame, item in zip(frames, items, strict=True):
        np.testing.assert_allclose(frame.positions, item.sample.positions, atol=1e-14)
        np.testing.assert_allclose(frame.cell.array, item.sample.cell, atol=1e-14)
        np.testing.assert_array_equal(frame.pbc, item.sample.pbc)
        np.testing.assert_allclose(frame.get_forces(), item.sample.labels["forces"], atol=1e-14)
        assert frame.get_potential_energy() == item.sample.labels["energy"]


@pytest.mark.parametrize(
    ("change", "target", "said"),
    [
        ({"labels": {}}, "folder", "has no labels"),
        ({"level": None}, "folder", "give --level NAME"),
        ({}, "a.pdf", "cannot write '.pdf'"),
    ],
)
def test_what_does_not_fit(tmp_path, change, target, said):
    item = make_items(False)[0]
    with pytest.raises(InputError, match=said):
        write_items(tmp_path / target, [Item(item.sample.replace(**change))])


def test_a_truncated_file_names_its_line(tmp_path):
    path = tmp_path / "a.extxyz"
    write_items(path, make_items(False))
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match=r"a.extxyz, line \d+: truncated"):
        read_items(path)


FLOWS = """
from sfm.data.spec import DatasetSpec
from sfm.plugin import Plugin
SPEC = DatasetSpec(name="flow", domain="flows", summary="", quantities=(), levels=(),
                   licence="", origin="", length_unit="{unit}")
plugin = Plugin(name="flows", domain="flows", summary="", datasets={{"flow": "flow_sfm:SPEC"}})
"""


@pytest.mark.parametrize("unit", ["1", "nm"])
def test_lengths_are_in_the_unit_of_the_domain(site, tmp_path, capsys, unit):
    """Not every domain measures in angstrom; `dataset show` and conversion ask it."""
    from sfm.cli import main
    from sfm.data.storage import open_dataset

    install(site, "flow-sfm", {"flows": "flow_sfm:plugin"}, {"flow_sfm": FLOWS.format(unit=unit)})
    items = [
        Item(i.sample.replace(domain="flows", dataset=None), i.split) for i in make_items(True)
    ]
    folder = tmp_path / "mine"
    write_items(folder, items)
    units = {c.quantity: c.unit for c in open_dataset(folder).columns}
    assert (units["positions"], units["cell"]) == (unit, unit)
    for item, back in zip(items[::3], read_items(folder)[:2], strict=True):
        same(item.sample, back.sample, dataset=False)
    assert main(["dataset", "show", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["columns"]
    assert {c["quantity"]: c["unit"] for c in shown} == units
