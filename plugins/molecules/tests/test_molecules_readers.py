"""Readers: what users have becomes samples, what is wrong is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as ase_molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rdkit import Chem
from sfm_molecules.data.converters import from_ase, from_rdkit, to_ase
from sfm_molecules.data.readers import read_ase, read_sdf
from sfm_molecules.data.smiles_files import read_smiles
from sfm_molecules.geometry.conformers import force_field
from sfm_molecules.geometry.embedding import embed

from sfm.data.readers import read_file, read_object
from sfm.data.rows import RowError, Skipped, collecting
from sfm.errors import InputError, InputWarning, WrongDomain


def water() -> Atoms:
    atoms = ase_molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-14.2, forces=np.full((3, 3), 0.25))
    return atoms


def test_smiles_files_become_molecules_with_hydrogens(tmp_path):
    path = tmp_path / "list.smi"
    path.write_text("# a comment\nCCO ethanol\n\nO\n")
    samples = read_smiles(path)
    assert [s.id for s in samples] == ["ethanol", "O"]
    assert sorted(samples[0].types.tolist()) == [1] * 6 + [6, 6, 8]
    bond = np.linalg.norm(samples[1].positions[0] - samples[1].positions[1])
    assert bond == pytest.approx(0.97, abs=0.02)
    np.testing.assert_array_equal(read_smiles(path)[0].positions, samples[0].positions)


def test_csv_labels_are_converted_to_canonical_units(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("id,smiles,polarizability[angstrom**3],note\nw,O,1.45,x\nm,C,2.6,y\n")
    first, second = read_smiles(path)
    assert first.id == "w"
    assert float(first.labels["polarizability"]) == pytest.approx(1.45 / 0.529177**3, rel=1e-5)
    assert float(second.labels["polarizability"]) == pytest.approx(2.6 / 0.529177**3, rel=1e-5)


def test_a_table_may_leave_a_label_out_and_state_quantities_of_the_users_own(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(
        "smiles,polarizability [bohr**3],surface_tension [mN/m],assay [no. 2],charge\n"
        "O,9.8,72.0,1.5,0\nC,,,,\n[NH4+],8,,,+1\n"
    )
    water, methane, ammonium = read_smiles(path)
    assert dict(water.labels) == {"polarizability": 9.8}
    assert dict(water.extras) == {"surface_tension[mN/m]": 72.0, "assay[no. 2]": 1.5}
    assert not methane.labels
    assert not methane.extras
    assert methane.level is None
    assert ammonium.conditions == {"charge": 1.0}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.smi", "CCO\nC1CC\n", r"a.smi, line 2: 'C1CC' is not a SMILES"),
        ("a.csv", "smile,x\nCCO,1\n", r"no column 'smiles' .*Did you mean 'smile'"),
        ("a.csv", "smiles,x\nCCO,1\n,2\n", r"a.csv, line 3: column 'smiles': empty"),
        (
            "a.csv",
            "smiles,energy[kg]\nCCO,1\n",
            r"a.csv, column 'energy\[kg\]': unit 'kg' .* cannot be converted to 'eV'",
        ),
        (
            "a.csv",
            "smiles,energy[eV]\nCCO,1\nC,abc\n",
            r"a.csv, line 3: column 'energy\[eV\]': 'abc' is not a number",
        ),
        ("a.smi", "[Xx]\n", r"a.smi, line 1: '\[Xx\]' is not a SMILES"),
    ],
)
def test_bad_smiles_files_are_explained(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_smiles(path)


def test_sdf_with_and_without_coordinates(tmp_path):
    path = tmp_path / "two.sdf"
    flat = Chem.MolFromSmiles("CCO")
    flat.SetProp("_Name", "flat")
    solid = embed("c1ccccc1", seed=3)
    solid.SetProp("_Name", "solid")
    with Chem.SDWriter(str(path)) as writer:
        writer.write(flat)
        writer.write(solid)
    first, second = read_sdf(path)
    assert (first.id, second.id) == ("flat", "solid")
    assert len(first.types) == 9
    assert np.ptp(first.positions, axis=0).min() > 0.5
    np.testing.assert_allclose(second.positions, solid.GetConformer().GetPositions(), atol=1e-3)
    text = path.read_text()
    path.write_text(text.replace("  1  2  1  0", "  1 77  1  0", 1))
    with pytest.raises(InputError, match=r"two.sdf, record 1: rdkit cannot read"):
        read_sdf(path)


def test_an_sdf_record_states_labels_numbers_and_a_charge_in_its_data(tmp_path):
    """They were read by nobody, and nobody said so."""
    path = tmp_path / "one.sdf"
    ammonium = Chem.MolFromSmiles("[NH4+]")
    for name, text in (
        ("polarizability[angstrom**3]", "1.45"),
        ("pIC50", "6.5"),
        ("surface_tension [mN/m]", "40"),
        ("comment", "none"),
        ("charge", "1"),
    ):
        ammonium.SetProp(name, text)
    with Chem.SDWriter(str(path)) as writer:
        writer.write(ammonium)
    (sample,) = read_sdf(path)
    assert float(sample.labels["polarizability"]) == pytest.approx(1.45 / 0.529177**3, rel=1e-5)
    assert dict(sample.extras) == {"pIC50": 6.5, "surface_tension[mN/m]": 40.0}
    assert dict(from_rdkit(ammonium).extras) == dict(sample.extras)
    path.write_text(path.read_text().replace("(1) \n1\n", "(1) \n2\n"))
    with pytest.raises(InputError, match=r"one.sdf, record 1: .* its file says"):
        read_sdf(path)
    path.write_text(path.read_text().replace("1.45", "high"))
    with pytest.raises(InputError, match=r"one.sdf, record 1: .* 'high' is not a number"):
        read_sdf(path)


def test_extxyz_keeps_labels(tmp_path):
    path = tmp_path / "frames.extxyz"
    write(path, [water(), water()])
    samples = read_file(path)
    assert len(samples) == 2
    assert samples[0].domain == "molecules"
    assert float(samples[0].labels["energy"]) == -14.2
    np.testing.assert_array_equal(samples[0].labels["forces"], np.full((3, 3), 0.25))


def frames_text(tmp_path) -> str:
    path = tmp_path / "good.extxyz"
    write(path, [water(), water()])
    return path.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t[: int(len(t) * 0.8)],
            r"bad.extxyz, frame 2: truncated: \d+ rows where row 6 announces 3",
        ),
        (
            lambda t: t.replace("\nH ", "\nQq ", 1),
            r"bad.extxyz, frame 1: row 4, column 1: unknown element 'Qq'",
        ),
        (
            lambda t: t.replace("0.11926200", "nan", 1),
            r"bad.extxyz, frame 1: .*atom 1 is not a fin",
        ),
        (lambda t: "", r"bad.extxyz"),
        (
            lambda t: t.replace('pbc="F F F"', 'Lattice="5 0 0 0 5 0 0 0 5" pbc="T T T"', 1),
            "periodic",
        ),
    ],
)
def test_bad_extxyz_files_are_explained(tmp_path, change, message):
    text = change(frames_text(tmp_path))
    path = tmp_path / "bad.extxyz"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_ase(path)
    assert "\n" not in str(caught.value)


def test_objects_become_samples_and_return():
    atoms = water()
    atoms.info["charge"] = 1
    sample = read_object(atoms)[0]
    back = to_ase(sample)
    np.testing.assert_array_equal(back.positions, atoms.positions)
    assert back.get_potential_energy() == -14.2
    assert sample.conditions == {"charge": 1.0}
    assert from_ase(back).conditions == {"charge": 1.0}
    ion = read_object(Chem.MolFromSmiles("C[NH3+]"))[0]
    assert ion.conditions == {"charge": 1.0}
    assert len(ion.types) == 8


def test_dummy_atoms_and_crystals_are_refused():
    with pytest.raises(InputError, match="atom 1 has an unknown element"):
        from_rdkit(Chem.MolFromSmiles("*CC"))
    with pytest.raises(InputError, match="unknown element"):
        from_ase(Atoms("X", [[0, 0, 0]]))
    with pytest.raises(WrongDomain, match="periodic"):
        from_ase(Atoms("Cu", [[0, 0, 0]], cell=[3, 3, 3], pbc=True))


@pytest.mark.parametrize(
    "text",
    ["\ufeffsmiles,name\nCCO,e\n", "smiles;name\nCCO;e\n", "name\tsmiles\ne\tCCO\n"],
)
def test_csv_dialects(tmp_path, text):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    (one,) = read_smiles(path)
    assert (one.id, len(one.types)) == ("e", 9)


def test_smi_with_a_mark_a_header_and_cxsmiles(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("\ufeffSMILES\tname\nc1ccccc1 |c:0,2,4| ring\n", encoding="utf-8")
    (one,) = read_smiles(path)
    assert (one.id, len(one.types)) == ("ring", 12)


def test_other_columns_of_a_csv_are_kept_and_charges_compared(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("smiles,E_dft,charge\nC[NH3+],-3.5,1\n")
    (one,) = read_smiles(path)
    assert float(one.extras["E_dft"]) == -3.5
    assert one.conditions["charge"] == 1
    path.write_text("smiles,charge\nC[NH3+],0\n")
    with pytest.raises(InputError, match=r"line 2: .*has charge \+1, its file says \+0"):
        read_smiles(path)


def test_a_smiles_string_is_read_as_text():
    (one,) = read_object("CCO")
    assert (one.id, len(one.types)) == ("CCO", 9)
    (trans,) = read_object("F/C=C/F")
    assert len(trans.types) == 6
    with pytest.raises(InputError, match=r"watre\.xyz: no such file"):
        read_object("watre.xyz")
    with pytest.raises(InputError, match="no such file; 'hello' is not a SMILES"):
        read_object("hello")


@pytest.mark.parametrize(("smiles", "parts"), [("O.CCO", ("O", "CCO")), ("O.O", ("O", "O"))])
def test_fragments_are_placed_apart(smiles, parts):
    """At a hydrogen bond's distance, and bound by less than 10 kcal/mol with MMFF94."""
    with pytest.warns(InputWarning, match="2 molecules, placed at van der Waals contact"):
        together = embed(smiles)
    oxygens = [a.GetIdx() for a in together.GetAtoms() if a.GetSymbol() == "O"]
    x = together.GetConformer().GetPositions()
    assert 2.4 < np.linalg.norm(x[oxygens[0]] - x[oxygens[1]]) < 3.5
    molecules = [embed(s) for s in parts]  # a field does not keep its molecule alive
    alone = sum(force_field(m).CalcEnergy() for m in molecules)
    assert -10 < force_field(together).CalcEnergy() - alone < 0  # kcal/mol


@pytest.mark.parametrize("smiles", ["[Na+].[Cl-]", "CC(=O)[O-].[Na+]", "[Fe+2].[Cl-].[Cl-]"])
def test_salts_are_refused(smiles):
    with pytest.raises(InputError, match="is made of ions"):
        embed(smiles)


def test_a_solvated_ion_is_no_salt():
    with pytest.warns(InputWarning, match="2 molecules"):
        assert embed("[OH3+].O").GetNumAtoms() == 7


def test_a_smiles_too_long_to_embed_is_refused():
    with pytest.raises(InputError, match="20000 characters"):
        embed("C" * 20_000)
    with pytest.raises(InputError, match="1202 atoms"):
        embed("C" * 400)


def test_names_with_an_at_sign_are_names(tmp_path):
    write(tmp_path / "opt@300K.xyz", water(), format="xyz")
    write(tmp_path / "name@1.pdb", water(), format="proteindatabank")
    write(tmp_path / "name", [water(), ase_molecule("CH4")], format="proteindatabank")
    assert len(read_file(tmp_path / "opt@300K.xyz")[0].types) == 3
    assert len(read_file(tmp_path / "name@1.pdb")[0].types) == 3


def test_frames_behind_a_blank_line_are_read(tmp_path):
    """ASE stops there, and would drop them without a word."""
    path = tmp_path / "a.xyz"
    path.write_text("1\n\nHe 0 0 0\n\n1\n\nNe 0 0 0\n")
    assert [s.types.tolist() for s in read_file(path)] == [[2], [10]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1000000000\n\nH 0 0 0\n", "truncated: 3 rows where row 1 announces 1000000000 atoms"),
        ("1\nProperties=species:S:1:pos:R:3:x:R:1000000000\nH 0 0 0\n", "are no columns"),
        ("1\nProperties=species:S:1:pos:R:3:x:R:99999\nH 0 0 0\n", "4 columns where 100003 are"),
        ("2\n\nH 0 0 0\nH 0 0 1\nH 0 0 2\n", "row 5: 'H 0 0 2' is not a number of atoms"),
        ("-1\n\n", "'-1' is not a number of atoms"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_at_once(tmp_path, text, message):
    path = tmp_path / "a.extxyz"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_file(path)


def test_labels_in_other_spellings(tmp_path):
    path = tmp_path / "a.extxyz"
    head = "Properties=species:S:1:pos:R:3:force:R:3"
    path.write_text(f"1\n{head} Energy=-1.5 REF_energy=2 config_weight=0.5\nHe 0 0 0 1 2 3\n")
    (one,) = read_file(path)
    assert float(one.labels["energy"]) == -1.5
    np.testing.assert_array_equal(one.labels["forces"], [[1, 2, 3]])
    assert set(one.extras) == {"REF_energy", "config_weight"}
    path.write_text("1\nfree_energy=-1.5\nHe 0 0 0\n")
    with pytest.warns(InputWarning, match="free_energy is taken as the energy"):
        (one,) = read_file(path)
    assert float(one.labels["energy"]) == -1.5


def test_ase_databases_are_read(tmp_path):
    from ase.db import connect

    with connect(tmp_path / "a.db") as db:
        db.write(water(), gap=3.5)
        db.write(ase_molecule("CH4"))
    first, second = read_file(tmp_path / "a.db")
    assert float(first.labels["energy"]) == -14.2
    assert float(first.extras["gap"]) == 3.5
    assert not second.labels


LIST = "CCO ethanol\nC1CC bad\nO water\n"


def test_bad_rows_are_left_out_where_asked(tmp_path):
    path = tmp_path / "list.smi"
    path.write_text(LIST)
    with pytest.raises(RowError, match=r"list\.smi, line 2"):
        read_file(path)
    skipped = Skipped()
    with collecting(skipped):
        assert [s.id for s in read_file(path)] == ["ethanol", "water"]
    assert len(skipped.rows) == 1
    assert "line 2" in skipped.summary()
    with collecting(Skipped(limit=0)), pytest.raises(InputError, match="1 bad row"):
        read_file(path)
    frames = tmp_path / "frames.xyz"
    frames.write_text("1\n\nHe 0 0 0\n1\n\nQq 0 0 0\n1\n\nNe 0 0 x\n1\n\nAr 0 0 0\n")
    skipped = Skipped()
    with collecting(skipped):
        samples = read_file(frames)
    assert [s.id for s in samples] == ["frames-1: He", "frames-4: Ar"]
    assert ["frame 2" in r or "frame 3" in r for r in skipped.rows] == [True, True]
    frames.write_text("1\n\nQq 0 0 0\n")
    with collecting(Skipped()), pytest.raises(InputError, match="no row of it can be used"):
        read_file(frames)


def test_a_pymatgen_molecule_says_its_charge_spin_and_numbers(tmp_path):
    core = pytest.importorskip("pymatgen.core")
    water = [[0, 0, 0.119], [0, 0.763, -0.477], [0, -0.763, -0.477]]
    numbers = {"energy": -14.2, "dielectric_guess": 80.0}
    plain = core.Molecule(["O", "H", "H"], water, properties=numbers)
    (sample,) = read_object(plain)
    assert sample.conditions == {}
    assert float(sample.labels["energy"]) == -14.2
    assert dict(sample.extras) == {"dielectric_guess": 80.0}
    np.testing.assert_array_equal(sample.positions, water)
    plain.to(filename=str(tmp_path / "water.json"))
    (again,) = read_file(tmp_path / "water.json")
    assert (again.domain, float(again.labels["energy"])) == ("molecules", -14.2)
    row = {"structure": plain.as_dict(), "gap": 8.0}
    (tmp_path / "row.json").write_text(json.dumps([row]))
    assert dict(read_file(tmp_path / "row.json")[0].extras) == {
        "dielectric_guess": 80.0,
        "gap": 8.0,
    }
    oxygen = core.Molecule(["O", "O"], [[0, 0, 0], [0, 0, 1.2]], charge=0, spin_multiplicity=3)
    assert read_object(oxygen)[0].conditions == {"spin": 2.0}
    ion = core.Molecule(["O", "H", "H"], water, charge=1)
    assert read_object(ion)[0].conditions == {"charge": 1.0}
    with pytest.raises(InputError, match="whole number"):
        read_object(core.Molecule(["O", "H", "H"], water, charge=0.5))
    with pytest.raises(InputError, match="atom 1 has an unknown element"):
        read_object(core.Molecule(["X"], [[0, 0, 0]]))
