"""Files and objects to samples and back; mistakes in files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.io import write
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedStructureEntry
from sfm_crystals.data import cif, readers
from sfm_crystals.data.converters import from_ase, from_pymatgen, to_ase, to_pymatgen
from sfm_crystals.data.prototypes import diamond

from sfm.data.readers import read_file, read_object
from sfm.errors import InputError, InputWarning, WrongDomain


def salt() -> Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def same(sample, atoms: Atoms, tolerance: float) -> None:
    np.testing.assert_array_equal(np.sort(sample.types), np.sort(atoms.numbers))
    assert abs(np.linalg.det(sample.cell)) == pytest.approx(atoms.get_volume(), rel=tolerance)
    ours = np.sort(to_ase(sample).get_all_distances(mic=True), axis=None)
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
    structure = to_pymatgen(sample)
    for back in (from_pymatgen(structure), from_ase(to_ase(sample))):
        np.testing.assert_array_equal(back.types, sample.types)
        np.testing.assert_allclose(back.positions, sample.positions, atol=1e-12)
        np.testing.assert_allclose(back.cell, sample.cell)
    charged = Structure(Lattice.cubic(5.6), ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert read_object(charged)[0].types.tolist() == [11, 17]
    assert read_object(salt(), domain="crystals")[0].domain == "crystals"


def test_molecules_belong_to_another_domain(tmp_path):
    with pytest.raises(WrongDomain, match="periodic along no lattice vector"):
        from_ase(molecule("H2O"))
    write(tmp_path / "water.xyz", molecule("H2O"))
    with pytest.raises(WrongDomain, match=r"water\.xyz"):
        readers.read_ase(tmp_path / "water.xyz")


HEAD = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"'
BAD_XYZ = {
    "unknown element": (f"2\n{HEAD}\nNa 0 0 0\nXx 2 2 2\n", r"row 4, column 1: unknown.*'Xx'"),
    "truncated": (f"3\n{HEAD}\nNa 0 0 0\nCl 2 2 2\n", "truncated: 4 rows where row 1 announces 3"),
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
        cif.read_cif(path)
    path.write_text(good.replace("1.0000", "0.5000"))
    with pytest.raises(InputError, match=r"site 1 is partly occupied"):
        cif.read_cif(path)


@pytest.mark.parametrize("read", [readers.read_ase, cif.read_cif, readers.read_poscar])
@pytest.mark.parametrize("name", ["gone.extxyz", "gone.cif", "POSCAR"])
def test_a_missing_file_is_told(tmp_path, read, name):
    with pytest.raises(InputError, match=rf"{name}: no such file"):
        read(tmp_path / name)


def test_other_mistakes_are_told():
    atoms = salt()
    atoms.positions[3, 2] = np.inf
    with pytest.raises(InputError, match="atom 4, coordinate z"):
        from_ase(atoms)
    with pytest.raises(InputError, match="atom 1 is of unknown element 'X'"):
        from_ase(Atoms("X", cell=[3, 3, 3], pbc=True))


CELL = """data_a
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M '{group}'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{sites}
"""
SALT = "Na1 Na 0 0 0 1\nCl1 Cl 1/2 0.5(1) 0.5 1"


def cif_file(tmp_path, sites, group="F m -3 m", before=""):
    path = tmp_path / "a.cif"
    path.write_text(before + CELL.format(group=group, sites=sites))
    return path


def test_cif_blocks_vacancies_fractions_and_deuterium(tmp_path):
    (one,) = cif.read_cif(cif_file(tmp_path, SALT, before="data_global\n_journal_name 'x'\n"))
    assert sorted(one.types.tolist()) == [11] * 4 + [17] * 4
    (one,) = cif.read_cif(cif_file(tmp_path, SALT.replace("0.5 1", "0.5 0")))
    assert one.types.tolist() == [11] * 4
    (one,) = cif.read_cif(cif_file(tmp_path, "D1 D 0 0 0 1", "P 1"))
    assert one.types.tolist() == [1]
    assert one.masses is not None
    assert one.masses[0] == pytest.approx(2.0141, abs=1e-3)


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("O1 O 0 0 0 1\nO2 O 0 0 0 1", r"site 1 is overfull \(O:2\)"),
        ("O1 O 0 0 0 1\nO2 O 0.001 0 0 1", "0.006 angstrom apart"),
        ("O1 O 0 0 0 1.5", "occupancy 1.5, which is not within"),
        ("O1 O ? ? ? 1", "site O1 has no coordinates"),
        ("O1 OH 0 0 0 1", "is a group of atoms"),
        ("O1 O 0 0 0 0", "all its sites are empty"),
        ("\n".join(f"O{i} O 0 0 {i} 1" for i in range(100_001)), "are more than 100000"),
    ],
)
def test_cif_sites_that_are_no_atoms_are_named(tmp_path, sites, message):
    with pytest.raises(InputError, match=message) as caught:
        cif.read_cif(cif_file(tmp_path, sites, "P 1"))
    assert "\n" not in str(caught.value)


def test_cif_without_a_cell_or_elements(tmp_path):
    path = cif_file(tmp_path, SALT)
    path.write_text(path.read_text().replace("_a 5.64", "_a 0"))
    with pytest.raises(InputError, match="_cell_length_a is 0"):
        cif.read_cif(path)
    text = CELL.format(group="P 1", sites="HO1 0 0 0 1\nCA 0.5 0 0 1")
    path.write_text(text.replace("_atom_site_type_symbol\n", ""))
    with pytest.warns(InputWarning, match="HO1 as Ho, CA as Ca"):
        cif.read_cif(path)


def test_poscar_velocities_and_counts(tmp_path):
    path = tmp_path / "run3.POSCAR"
    head = "t\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
    path.write_text(head + "\n0.01 0.0 0.0\n0.0 -0.02 0.0\n")
    (one,) = read_file(path)
    np.testing.assert_allclose(one.velocities, [[0.01, 0, 0], [0, -0.02, 0]])
    path.write_text(head.replace("\n1 1\n", "\n1 1000000000\n"))
    with pytest.raises(InputError, match="where 1000000001 atoms are announced"):
        read_file(path)


def test_a_virial_is_minus_the_stress_times_the_volume(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text(f'1\n{HEAD} energy=1.0 virial="0.64 0 0 0 0.64 0 0 0 6.4"\nNa 0 0 0\n')
    (one,) = read_file(path)
    np.testing.assert_allclose(one.labels["stress"], -np.diag([0.01, 0.01, 0.1]))


def test_other_xml_is_no_crystal(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<html></html>")
    with pytest.raises(InputError, match=r"only VASP's vasprun\.xml"):
        read_file(path)


def test_what_a_pymatgen_structure_states_is_kept():
    """Numbers of a structure and of its sites were read by nobody, and nobody said so."""
    structure = Structure(
        Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3],
        properties={"energy": -3.4, "gap": 5.0},
        site_properties={"forces": [[0, 0, 0], [0, 0, 0.1]], "bader": [0.9, -0.9],
                         "selective_dynamics": [[True] * 3, [False] * 3]},
    )  # fmt: skip
    (sample,) = read_object(structure)
    assert float(sample.labels["energy"]) == -3.4
    np.testing.assert_array_equal(sample.labels["forces"], [[0, 0, 0], [0, 0, 0.1]])
    assert set(sample.extras) == {"gap", "bader"}
    np.testing.assert_array_equal(sample.fixed, [[False] * 3, [True] * 3])
    structure.add_site_property("forces", [0.0, 0.1])
    with pytest.raises(InputError, match=r"forces has shape \(2,\)"):
        read_object(structure)


def test_an_entry_is_its_structure_with_the_energy_that_was_computed():
    structure = Structure(Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    entry = ComputedStructureEntry(
        structure, -6.0, correction=-0.3, entry_id="mp-22862", data={"e_above_hull": 0.1}
    )
    with pytest.warns(InputWarning, match=r"mp-22862: .* without .* corrections \(-0.3 eV\)"):
        (sample,) = read_object([entry])
    assert sample.id == "mp-22862"
    assert dict(sample.labels) == {"energy": -6.0}
    assert dict(sample.extras) == {"e_above_hull": 0.1}


def test_json_files_of_pymatgen(tmp_path):
    """One structure, a list with an entry, rows as the Materials Project gives them."""
    structure = Structure(Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
    entry = ComputedStructureEntry(structure, -6.0, entry_id="mp-22862")
    path = tmp_path / "one.json"
    structure.to(filename=str(path))
    (one,) = read_file(path)
    np.testing.assert_array_equal(one.types, [11, 17])
    path.write_text(json.dumps([structure.as_dict(), entry.as_dict()], default=str))
    first, second = read_file(path)
    assert not first.labels
    assert (second.id, float(second.labels["energy"])) == ("mp-22862", -6.0)
    rows = [{"material_id": 7, "band_gap": 5.0, "energy": -6.5, "structure": structure.as_dict()}]
    path.write_text(json.dumps(rows))
    (row,) = read_file(path)
    assert float(row.labels["energy"]) == -6.5
    assert dict(row.extras) == {"material_id": 7, "band_gap": 5.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable JSON file"),
        ("[" * 100_000, "not a readable JSON file"),
        ("[]", "holds no structure"),
        ('{"a": 1}', "object 1: .* nothing that says a class"),
        ('[{"@module": "os", "@class": "system"}]', "object 1: .* one of class 'system'"),
        ('{"@module": "pymatgen.core.structure", "@class": "Structure"}', "pymatgen cannot read"),
    ],
)
def test_bad_json_files_are_explained(tmp_path, text, message):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_file(path)
