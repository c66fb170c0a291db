"""What we write is everybody's: it comes back exactly by our reader, and rightly by ASE's."""

from __future__ import annotations

import numpy as np
import pytest
from ase.db import connect
from ase.io import read, write
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfm.data.convert import read_items, write_items
from sfm.data.extxyz import read_extxyz, write_extxyz
from sfm.data.packing import Item
from sfm.data.readers import read_file
from sfm.data.sample import Sample
from sfm.errors import InputError

NUMBERS = st.floats(-1e6, 1e6).map(float)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9)


def rows(n: int, *shape: int):
    return arrays(np.float64, (n, *shape), elements=NUMBERS)


@st.composite
def samples(draw) -> Sample:
    n = draw(st.integers(1, 4))
    types = draw(arrays(np.int64, n, elements=st.integers(1, 118)))
    charge = draw(st.integers(-2, 1))
    electrons = int(types.sum()) - charge
    periodic = draw(st.booleans())
    symmetric = draw(rows(3, 3))
    labels = {
        "energy": np.array(draw(NUMBERS)),
        "forces": draw(rows(n, 3)),
        "dipole": draw(rows(3)),
        "charges": draw(rows(n)),
        "stress": symmetric + symmetric.T,
        "own_tensor": draw(rows(n, 3)),  # no quantity: a key, whatever its length
        "own_number": np.array(draw(st.integers(-(2**40), 2**40))),
    }
    if not periodic:
        del labels["stress"]
    kept = draw(st.sets(st.sampled_from(sorted(labels))))
    conditions = {"charge": float(charge), "spin": float(electrons % 2)}
    if electrons < 0 or draw(st.booleans()):
        conditions = {}
    rigid = np.array([[0, n - 1]]) if n > 1 and draw(st.booleans()) else None
    return Sample(
        id=draw(NAMES),
        domain="crystals" if periodic else "molecules",
        level=draw(st.none() | st.sampled_from(["PBE", "a b", 'it\'s "this"', "GFN2-xTB", "x\\y"])),
        dataset=draw(st.none() | NAMES),
        positions=draw(rows(n, 3)),
        types=types,
        cell=np.diag([3.0, 4.0, 5.0]) + draw(rows(3, 3)) * 1e-7 if periodic else None,
        pbc=periodic,
        conditions=conditions,
        labels={name: labels[name] for name in kept},
        masses=draw(st.none() | arrays(np.float64, n, elements=st.floats(0.1, 300.0))),
        fixed=draw(st.none() | arrays(np.bool_, (n, 3)).filter(np.any)),
        velocities=draw(st.none() | rows(n, 3)),
        rigid_pairs=rigid,
        rigid_lengths=None if rigid is None else draw(arrays(float, 1, elements=st.floats(0.5, 3))),
    )


def assert_same(a: Sample, b: Sample, tolerance: float = 0.0) -> None:
    def close(x, y, error=tolerance):
        np.testing.assert_allclose(x, y, rtol=error, atol=error, strict=not error)

    assert (a.domain, dict(a.conditions)) == (b.domain, dict(b.conditions))
    close(a.positions, b.positions)
    np.testing.assert_array_equal(a.types, b.types)
    np.testing.assert_array_equal(a.pbc, b.pbc)
    for name in ("cell", "masses", "fixed", "rigid_pairs", "rigid_lengths"):
        mine, other = getattr(a, name), getattr(b, name)
        assert (mine is None) == (other is None)
        if mine is not None:
            close(mine, other)
    assert set(a.labels) == set(b.labels)
    for name in a.labels:
        close(a.labels[name], b.labels[name])
    if a.velocities is not None:
        np.testing.assert_allclose(
            a.velocities, b.velocities, rtol=1e-14 + tolerance, atol=tolerance
        )


SETTINGS = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(st.lists(samples(), min_size=1, max_size=3))
def test_our_own_reader_gets_it_back_exactly(tmp_path, written):
    path = tmp_path / "a.extxyz"
    write_extxyz(path, written, ["test", *[None] * (len(written) - 1)])
    frames = list(read_extxyz(path))
    assert frames[0][1] == "test"
    for sample, (back, _) in zip(written, frames, strict=True):
        assert (sample.id, sample.level, sample.dataset) == (back.id, back.level, back.dataset)
        assert_same(sample, back)
    for sample, back in zip(written, read_file(path), strict=True):
        assert_same(sample, back)


@SETTINGS
@given(samples())
def test_ase_reads_the_same_numbers(tmp_path, sample):
    path = tmp_path / "a.extxyz"
    write_extxyz(path, [sample])
    atoms = read(path)
    results = getattr(atoms.calc, "results", {})
    np.testing.assert_array_equal(atoms.positions, sample.positions)
    for name in ("energy", "forces", "dipole", "charges"):
        if name in sample.labels:
            np.testing.assert_array_equal(results[name], sample.labels[name])
    if "stress" in sample.labels:
        xx, yy, zz, yz, xz, xy = results["stress"]
        full = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        np.testing.assert_array_equal(full, sample.labels["stress"])
    assert {k: atoms.info[k] for k in sample.conditions} == dict(sample.conditions)
    if sample.masses is not None:
        np.testing.assert_array_equal(atoms.get_masses(), sample.masses)
    if sample.velocities is not None:
        from ase.units import fs

        np.testing.assert_allclose(atoms.get_velocities() * fs, sample.velocities, rtol=1e-12)
    if sample.level == "a b":
        assert atoms.info["level"] == "a b"


@SETTINGS
@given(samples())
def test_what_ase_writes_again_is_still_ours(tmp_path, sample):
    """ASE writes eight decimals, and knows nothing of velocities beyond momenta."""
    # commas alone ASE reads as an empty array, which it then writes as nothing
    texts = [t for t in (sample.id, sample.dataset, sample.level) if t is not None]
    assume(all(t.strip(",") for t in texts))
    # of a text in an opening brace ASE's writer leaves a backslash bare, which eats what follows
    assume(not any("{" in t and "\\" in t for t in texts))
    path, again = tmp_path / "a.extxyz", tmp_path / "b.extxyz"
    write_extxyz(path, [sample])
    write(again, read(path), format="extxyz")
    ((back, _),) = read_extxyz(again)
    assert_same(sample, back, 1e-7)


@pytest.mark.parametrize("suffix", [".db", ".h5"])
@SETTINGS
@given(st.lists(samples(), min_size=1, max_size=3))
def test_databases_and_hdf5_come_back_exactly_too(tmp_path, suffix, written):
    path = tmp_path / f"a{suffix}"
    splits = ["test", *[None] * (len(written) - 1)]
    assert write_items(path, map(Item, written, splits)) == len(written)
    back = read_items(path)
    assert [i.split for i in back] == splits
    for sample, item in zip(written, back, strict=True):
        other = item.sample
        assert (sample.id, sample.level, sample.dataset) == (other.id, other.level, other.dataset)
        assert_same(sample, other)
        assert (sample.velocities is None) == (other.velocities is None)
        for name, value in sample.labels.items():
            assert value.dtype == other.labels[name].dtype
    for sample, other in zip(written, read_file(path), strict=True):
        assert_same(sample, other)


@SETTINGS
@given(samples())
def test_ase_reads_the_same_numbers_from_a_database(tmp_path, sample):
    path = tmp_path / "a.db"
    write_items(path, [Item(sample)])
    row = connect(path).get(1)
    atoms = row.toatoms()
    np.testing.assert_array_equal(atoms.positions, sample.positions)
    for name in ("energy", "forces", "dipole", "charges"):
        if name in sample.labels:
            np.testing.assert_array_equal(atoms.calc.results[name], sample.labels[name])
    if "stress" in sample.labels:
        xx, yy, zz, yz, xz, xy = atoms.calc.results["stress"]
        full = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
        np.testing.assert_array_equal(full, sample.labels["stress"])
    if sample.conditions:
        assert row.key_value_pairs["total_charge"] == sample.conditions["charge"]
        assert row.key_value_pairs["unpaired_electrons"] == sample.conditions["spin"]
    if sample.masses is not None:
        np.testing.assert_array_equal(atoms.get_masses(), sample.masses)


def test_the_dipole_of_water_is_a_key_and_its_charges_are_a_column(tmp_path):
    """Three numbers and three atoms."""
    water = Sample(
        id="water",
        domain="molecules",
        positions=np.eye(3),
        types=[8, 1, 1],
        labels={
            "dipole": np.array([0.1, 0.2, -0.4]),
            "charges": np.array([-0.8, 0.4, 0.4]),
            "dipole@PBE": np.array([0.1, 0.2, -0.5]),
            "charges@PBE": np.array([-0.7, 0.3, 0.4]),
        },
    )
    path = tmp_path / "water.extxyz"
    write_extxyz(path, [water])
    atoms = read(path)
    np.testing.assert_array_equal(atoms.get_dipole_moment(), [0.1, 0.2, -0.4])
    np.testing.assert_array_equal(atoms.get_charges(), [-0.8, 0.4, 0.4])
    np.testing.assert_array_equal(atoms.info["dipole@PBE"], [0.1, 0.2, -0.5])
    np.testing.assert_array_equal(atoms.arrays["charges@PBE"], [-0.7, 0.3, 0.4])
    assert_same(water, read_file(path)[0])


@pytest.mark.parametrize("name", ["a.extxyz", "a.npz", "folder"])
def test_masses_fixed_atoms_and_velocities_are_kept(tmp_path, name):
    sample = Sample(
        id="heavy",
        domain="crystals",
        level="PBE",
        positions=[[0, 0, 0], [1, 1, 1]],
        types=[1, 8],
        cell=4 * np.eye(3),
        pbc=True,
        labels={"energy": np.array(-1.0)},
        masses=[2.014, 15.999],
        fixed=[True, False],
        velocities=[[0.01, 0, 0], [0, 0, 0.02]],
    )
    write_items(tmp_path / name, [Item(sample, "train")])
    (item,) = read_items(tmp_path / name)
    assert_same(sample, item.sample)


def test_two_meanings_of_one_word_are_refused(tmp_path):
    sample = Sample(
        id="x",
        domain="molecules",
        positions=np.zeros((1, 3)),
        types=[1],
        conditions={"charge": 1.0},
        labels={"charge": np.array(0.5)},
    )
    with pytest.raises(InputError, match="'charge' stands for two things"):
        write_extxyz(tmp_path / "a.extxyz", [sample])


def test_files_of_version_1_are_still_read(tmp_path):
    path = tmp_path / "old.extxyz"
    head = (
        '{"id": "it\\u0027s", "domain": "molecules", "level": "PBE", "dataset": null, '
        '"conditions": {"charge": 1.0}, "split": "test", "cell": null, '
        '"pbc": [false, false, false], "labels": {"energy": -1.5}, "columns": [["forces", [3]]]}'
    )
    path.write_text(
        f"1\nProperties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 sfm='{head}'\nH 0 0 0 1 2 3\n"
    )
    (item,) = read_items(path)
    assert (item.sample.id, item.split, item.sample.conditions) == ("it's", "test", {"charge": 1.0})
    np.testing.assert_array_equal(item.sample.labels["forces"], [[1, 2, 3]])
