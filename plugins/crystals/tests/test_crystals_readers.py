"""Files and objects to samples and back; mistakes in files."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.io import write
from pymatgen.core import Lattice, Structure
from sfm_crystals import readers
from sfm_crystals.converters import from_atoms, from_structure, to_atoms, to_structure
from sfm_crystals.prototypes import diamond

from sfm.data.readers import WrongDomain, read_file, read_object
from sfm.errors import InputError


def salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def same(sample, atoms: Atoms, tolerance: float) -> None:
    np.testing.assert_array_equal(np.sort(sample.types), np.sort(atoms.numbers))
    assert abs(np.linalg.det(sample.cell)) == pytest.approx(atoms.get_volume(), rel=tolerance)
    ours = np.sort(to_atoms(sample).get_all_distances(mic=True), axis=None)
    np.testing.assert_allclose(
        ours, np.sort(atoms.get_all_distances(mic=True), axis=None), atol=tolerance
    )


@pytest.mark.parametrize(
    ("name", "kind", "tolerance"),
    [
        ("salt.cif", "cif", 1e-4),
        ("salt.vasp", "vasp", 1e-8),
        ("POSCAR", "vasp", 1e-8),
        ("salt.extxyz", "extxyz", 1e-6),
        ("salt.traj", "traj", 1e-12),
    ],
)
def test_files_give_the_crystal_that_was_written(tmp_path, name, kind, tolerance):
    write(tmp_path / name, salt(), format=kind)
    (sample,) = read_file(tmp_path / name, domain="crystals")
    assert sample.domain == "crystals"
    assert sample.pbc.all()
    same(sample, salt(), tolerance)


def test_labels_of_extxyz_keep_their_sign_and_unit(tmp_path):
    frames = []
    for scale in (0.95, 1.05):
        atoms = bulk("Ar", "fcc", a=5.26 * scale, cubic=True)
        atoms.rattle(0.1, seed=2)
        atoms.calc = LennardJones(epsilon=0.01, sigma=3.4, rc=8.0, smooth=True)
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    write(tmp_path / "argon.extxyz", frames)
    samples = readers.read_labelled(tmp_path / "argon.extxyz")
    assert [s.id for s in samples] == ["argon.extxyz#1", "argon.extxyz#2"]
    for sample, atoms in zip(samples, frames, strict=True):
        assert float(sample.labels["energy"]) == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(sample.labels["forces"], atoms.get_forces(), atol=1e-8)
        np.testing.assert_allclose(
            sample.labels["stress"], atoms.get_stress(voigt=False), atol=1e-10
        )
    assert np.trace(samples[0].labels["stress"]) < 0 < np.trace(samples[1].labels["stress"])


def test_objects_convert_both_ways():
    sample = diamond(14, 5.43)
    structure = to_structure(sample)
    for back in (from_structure(structure), from_atoms(to_atoms(sample))):
        np.testing.assert_array_equal(back.types, sample.types)
        np.testing.assert_allclose(back.positions, sample.positions, atol=1e-12)
        np.testing.assert_allclose(back.cell, sample.cell)
    charged = Structure(Lattice.cubic(5.6), ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert read_object(charged)[0].types.tolist() == [11, 17]
    assert read_object(salt(), domain="crystals")[0].domain == "crystals"


def test_molecules_belong_to_another_domain(tmp_path):
    with pytest.raises(WrongDomain, match="periodic along no lattice vector"):
        from_atoms(molecule("H2O"))
    write(tmp_path / "water.xyz", molecule("H2O"))
    with pytest.raises(WrongDomain, match=r"water\.xyz"):
        readers.read_ase(tmp_path / "water.xyz")


HEAD = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"'
BAD_XYZ = {
    "unknown element": (f"2\n{HEAD}\nNa 0 0 0\nXx 2 2 2\n", r"row 4, column 1: unknown.*'Xx'"),
    "truncated": (f"3\n{HEAD}\nNa 0 0 0\nCl 2 2 2\n", "truncated: 4 rows where 5"),
    "no number": (f"2\n{HEAD}\nNa 0 0 0\nCl 2 two 2\n", "row 4, column 3: 'two'"),
    "NaN": (f"2\n{HEAD}\nNa 0 0 0\nCl 2 nan 2\n", "atom 2, coordinate y is not a finite"),
    "zero volume": (f"2\n{HEAD.replace('0 0 4', '0 4 0')}\nNa 0 0 0\nCl 2 2 2\n", "zero volume"),
}


@pytest.mark.parametrize("case", BAD_XYZ)
def test_bad_extxyz_is_told_by_file_and_row(tmp_path, case):
    content, message = BAD_XYZ[case]
    path = tmp_path / "bad.extxyz"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        readers.read_ase(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_poscar_is_told_by_file_and_row(tmp_path):
    path = tmp_path / "POSCAR"
    write(path, salt(), format="vasp")
    good = path.read_text().splitlines()
    cases = {
        "truncated: 12 rows where 16": good[:12],
        "unknown element 'Xx'": [*good[:5], "Xx Cl", *good[6:]],
        "row 11, column 2: 'a'": [*good[:10], "0.1 a 0.2", *good[11:]],
    }
    for message, lines in cases.items():
        path.write_text("\n".join(lines) + "\n")
        with pytest.raises(InputError, match=message) as caught:
            readers.read_poscar(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_bad_cif_is_told(tmp_path):
    path = tmp_path / "bad.cif"
    write(path, salt(), format="cif")
    good = path.read_text()
    path.write_text(good[: len(good) // 3])
    with pytest.raises(InputError, match="not a readable CIF"):
        readers.read_cif(path)
    path.write_text(good.replace("1.0000", "0.5000"))
    with pytest.raises(InputError, match=r"site 1 is partly occupied"):
        readers.read_cif(path)


@pytest.mark.parametrize("read", [readers.read_ase, readers.read_cif, readers.read_poscar])
@pytest.mark.parametrize("name", ["gone.extxyz", "gone.cif", "POSCAR"])
def test_a_missing_file_is_told(tmp_path, read, name):
    with pytest.raises(InputError, match=rf"{name}: no such file"):
        read(tmp_path / name)


def test_other_mistakes_are_told():
    atoms = salt()
    atoms.positions[3, 2] = np.inf
    with pytest.raises(InputError, match="atom 4, coordinate z"):
        from_atoms(atoms)
    with pytest.raises(InputError, match="atom 1 is of unknown element 'X'"):
        from_atoms(Atoms("X", cell=[3, 3, 3], pbc=True))
