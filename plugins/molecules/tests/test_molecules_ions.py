"""Ions and radicals that are made of molecules, and the dataset of them."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from sfm_molecules.data import ions, specs
from sfm_molecules.data.labelling import Settings, Xtb, label_molecule

from sfm.data.conditions import unpaired
from sfm.data.splits import assign
from sfm.data.storage import open_dataset


@pytest.mark.parametrize(
    ("kind", "molecule", "relative"),
    [
        ("cation", "CN", "C[NH3+]"),
        ("cation", "CNC(C)=O", "CNC(C)=[OH+]"),  # an amide takes it at the oxygen
        ("cation", "NCCO", "[NH3+]CCO"),  # the amine before the alcohol
        ("cation", "c1ccncc1", "c1cc[nH+]cc1"),
        ("cation", "Nc1ccncc1", "Nc1cc[nH+]cc1"),  # the ring, not the aniline
        ("anion", "CC(=O)O", "CC(=O)[O-]"),
        ("anion", "OCC(=O)O", "O=C([O-])CO"),  # the acid before the alcohol
        ("anion", "Oc1ccccc1", "[O-]c1ccccc1"),
        ("anion", "c1cn[nH]c1", "c1cn[n-]c1"),
        ("anion", "CS(=O)(=O)O", "CS(=O)(=O)[O-]"),
        ("radical", "C", "[CH3]"),
        ("radical", "O", "[OH]"),
    ],
)
def test_the_strongest_base_or_acid_of_a_molecule_gives_its_ion(kind, molecule, relative):
    (site, *_) = ions._sites(molecule, kind)
    changed = ions._changed(molecule, kind, site)
    assert changed == Chem.CanonSmiles(relative)


def test_a_molecule_without_a_site_has_no_relative():
    assert ions._sites("C", "cation") == ions._sites("C", "anion") == []
    assert ions._sites("FC(F)(F)F", "radical") == []
    assert dict(ions.relatives(["FC(F)(F)F"])) == {}


def test_relatives_are_the_same_whatever_stands_beside_them():
    molecules = ["CN", "CC(=O)O", "Oc1ccccc1", "CCO", "c1ccncc1", "CCS"]
    whole = dict(ions.relatives(molecules))
    assert len(whole) >= 3
    assert dict(pair for one in molecules for pair in ions.relatives([one])) == whole


def test_ions_and_radicals_are_labelled_in_their_ground_state():
    for smiles, charge, spin in (("C[NH3+]", 1, 0), ("CC(=O)[O-]", -1, 0), ("[CH3]", 0, 1)):
        rows = label_molecule(smiles, Settings(conformers=2))
        assert {(row.charge, row.spin) for row in rows} == {(charge, spin)}
        for row in rows:
            assert float(row.labels.charges.sum()) == pytest.approx(charge, abs=1e-6)
            alone = Xtb(row.types, charge=charge, uhf=spin)(row.positions)
            assert alone.energy == pytest.approx(row.labels.energy, abs=2e-5)


def test_the_bundled_set_holds_what_its_card_says():
    data = open_dataset(specs.MOLECULES_IONS.folder)
    card = " ".join((specs.MOLECULES_IONS.folder / "README.md").read_text("utf-8").split())
    assert f"{len(data):,} geometries" in card
    states = [(s.conditions["charge"], unpaired(s.conditions, s.types)) for s in data]
    assert set(states) == {(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0)}
    for state, name in (((1, 0), "cations"), ((-1, 0), "anions"), ((0, 1), "radicals")):
        assert f"{states.count(state):,} of {name}" in card
    groups = data._table.column("group").to_pylist()
    splits = data._table.column("split").to_pylist()
    # by the neutral molecule, so that it is on the same side in every dataset of molecules
    assert splits == [assign(group) for group in groups]
    for sample in (data[i] for i in range(0, len(data), 400)):
        charge, spin = sample.conditions["charge"], int(sample.conditions["spin"])
        again = Xtb(sample.types, charge=charge, uhf=spin)(sample.positions)
        assert again.energy == pytest.approx(float(sample.labels["energy"]), abs=2e-5)
        np.testing.assert_allclose(again.forces, sample.labels["forces"], atol=2e-4)
