"""Readers: what users have becomes samples, what is wrong is named."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as ase_molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from rdkit import Chem
from sfm_molecules.embedding import embed
from sfm_molecules.readers import from_ase, from_rdkit, read_ase, read_sdf, read_smiles, to_ase

from sfm.data.readers import WrongDomain, read_file, read_object
from sfm.errors import InputError


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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.smi", "CCO\nC1CC\n", r"a.smi, line 2: 'C1CC' is not a SMILES"),
        ("a.csv", "smile,x\nCCO,1\n", r"no column 'smiles' .*Did you mean 'smile'"),
        ("a.csv", "smiles,x\nCCO,1\n,2\n", r"a.csv, line 3, column 'smiles': empty"),
        (
            "a.csv",
            "smiles,energy[kg]\nCCO,1\n",
            r"a.csv, column 'energy\[kg\]': unit 'kg' .* cannot be converted to 'eV'",
        ),
        (
            "a.csv",
            "smiles,energy[eV]\nCCO,1\nC,abc\n",
            r"a.csv, line 3, column 'energy\[eV\]': 'abc' is not a number",
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
        (lambda t: t[: int(len(t) * 0.8)], r"bad.extxyz, frame 2: .*truncated"),
        (lambda t: t.replace("\nH ", "\nQq ", 1), r"bad.extxyz, frame 1: unknown element"),
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
