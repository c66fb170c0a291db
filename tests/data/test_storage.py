"""Parquet datasets: loss-free, typed, and clear about bad input."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from sfm.data.splits import SPLITS, assign
from sfm.data.storage import (
    GROUP,
    ID,
    SPLIT,
    TYPES,
    Column,
    Dataset,
    cell_column,
    positions_column,
    write_dataset,
)
from sfm.errors import InputError

A, B = "PBE/def2-SVP", "GFN2-xTB"
COLUMNS = [
    ID,
    SPLIT,
    GROUP,
    TYPES,
    positions_column(dtype="float64"),
    cell_column(),
    Column("charge", "e", "condition"),
    Column("energy", "hartree", "label", A, dtype="float64"),
    Column("energy", "eV", "label", B, dtype="float64"),
    Column("forces", "eV/angstrom", "label", B, (-1, 3), "float64"),
]
INFO = {"name": "test", "domain": "crystals", "licence": "CC0-1.0", "origin": "here"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))


def make_rows(n: int = 9):
    rng = np.random.default_rng(0)
    for i in range(n):
        atoms = 1 + i % 4
        yield {
            "id": f"row-{i}",
            "split": SPLITS[i % 3],
            "group": f"g{i % 3}",
            "types[1]": np.full(atoms, 6 + i % 3),
            "positions[angstrom]": rng.normal(size=(atoms, 3)),
            "cell[angstrom]": 5 * np.eye(3) + rng.normal(size=(3, 3)) * 0.1,
            "charge[e]": float(i % 2),
            f"energy[hartree]@{A}": float(i),
            f"energy[eV]@{B}": None if i == 4 else -float(i),
            f"forces[eV/angstrom]@{B}": rng.normal(size=(atoms, 3)),
        }


def write(folder, rows=None, **options):
    return write_dataset(folder, COLUMNS, make_rows() if rows is None else rows, INFO, **options)


def test_round_trip_is_exact(tmp_path):
    write(tmp_path)
    data = Dataset(tmp_path, level=B)
    assert len(data) == 9
    for i, row in enumerate(make_rows()):
        sample = data[i]
        assert sample.id == f"row-{i}@{B}"
        assert sample.level == B
        np.testing.assert_array_equal(sample.positions, row["positions[angstrom]"])
        np.testing.assert_array_equal(sample.cell, row["cell[angstrom]"])
        np.testing.assert_array_equal(sample.labels["forces"], row[f"forces[eV/angstrom]@{B}"])
        assert sample.conditions == {"charge": i % 2}
        assert sample.pbc.all()
        assert ("energy" in sample.labels) == (i != 4)


def test_a_row_with_two_levels_is_two_samples(tmp_path):
    write(tmp_path)
    data = Dataset(tmp_path)
    assert len(data) == 18
    assert {s.level for s in data} == {A, B}
    assert set(Dataset(tmp_path, level=A)[0].labels) == {"energy"}


def test_labels_come_in_canonical_units(tmp_path):
    write(tmp_path)
    sample = Dataset(tmp_path, level=A, quantity_units={"energy": "eV"})[1]
    assert sample.labels["energy"] == pytest.approx(27.211386, abs=1e-5)
    in_bohr = Dataset(tmp_path, level=A, length_unit="bohr")[1]
    plain = Dataset(tmp_path, level=A)[1]
    np.testing.assert_allclose(in_bohr.positions, plain.positions / 0.529177210544, rtol=1e-9)


def test_several_files_are_one_dataset(tmp_path):
    paths = write(tmp_path, max_rows_per_file=4)
    assert [p.name for p in paths] == [f"part-0000{i}-of-00003.parquet" for i in range(3)]
    assert [s.id for s in Dataset(tmp_path, level=A)][5] == f"row-5@{A}"
    write(tmp_path)
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_the_schema_explains_itself(tmp_path):
    (path,) = write(tmp_path)
    schema = pq.read_schema(path)
    assert b"hartree" in schema.field(f"energy[hartree]@{A}").metadata[b"sfm"]
    assert b"CC0-1.0" in schema.metadata[b"sfm"]


def test_splits_are_columns(tmp_path):
    write(tmp_path)
    ids = {split: {s.id for s in Dataset(tmp_path, split=split, level=A)} for split in SPLITS}
    assert [len(ids[s]) for s in SPLITS] == [3, 3, 3]
    assert not ids["train"] & ids["test"]


def test_sizes_do_not_need_the_samples(tmp_path):
    write(tmp_path)
    data = Dataset(tmp_path)
    assert data.sizes().tolist() == [len(s.types) for s in data]


def broken(number: int, **changes):
    rows = list(make_rows())
    rows[number] = {**rows[number], **changes}
    return rows


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            broken(3, **{f"energy[hartree]@{A}": np.nan}),
            r"row 3, column 'energy\[hartree\].*finite",
        ),
        (broken(2, **{"cell[angstrom]": np.eye(2)}), r"row 2, column 'cell.*\(2, 2\) does not fit"),
        (broken(2, id="row-1"), "row 2: the id 'row-1' occurs twice"),
        (broken(5, split="held-out"), "row 5"),
        (broken(1, colour="red"), r"row 1: no column is called \['colour'\]"),
        (broken(1, **{"charge[e]": [1, 2]}), "row 1, column 'charge.*not one number"),
    ],
)
def test_bad_rows_name_row_and_column(tmp_path, rows, said):
    with pytest.raises(InputError, match=said):
        write(tmp_path, rows)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_truncated_file_is_named(tmp_path):
    (path,) = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"part-00000.*damaged or truncated"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "dev"}, "split 'dev' is not one of"),
        ({"level": "CCSD"}, f"no level 'CCSD'; it has: {A}, {B}"),
        ({"quantity_units": {"energy": "angstrom"}}, "measure different things"),
    ],
)
def test_wrong_questions(tmp_path, options, said):
    write(tmp_path)
    with pytest.raises(InputError, match=said):
        Dataset(tmp_path, **options)


def test_an_empty_folder_says_how_to_build(tmp_path):
    with pytest.raises(InputError, match="sfm dataset build"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        {"quantity": "energy", "unit": "eV", "role": "label"},
        {"quantity": "charge", "unit": "e", "level": A},
        {"quantity": "x", "unit": "furlongs?"},
        {"quantity": "x", "shape": (-1, -1)},
    ],
)
def test_bad_columns(arguments):
    with pytest.raises(InputError):
        Column(**arguments)


def test_splits_are_stable_and_have_their_shares():
    # a change of the hash would move systems from training to test sets
    stated = {
        "CCO": "train",
        "c1ccccc1": "train",
        "mp-149": "test",
        "C": "train",
        "NaCl": "validation",
    }
    assert {group: assign(group) for group in stated} == stated
    shares = [sum(assign(f"g{i}") == s for i in range(4000)) / 4000 for s in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    with pytest.raises(ValueError, match="add up to 1"):
        assign("x", (0.5, 0.5, 0.5))
