"""Bonds perceived from a geometry are those of the SMILES that the geometry was made of."""

from __future__ import annotations

import pytest
from rdkit import Chem
from sfm_molecules.geometry.conformers import force_field, geometry
from sfm_molecules.geometry.embedding import embed
from sfm_molecules.geometry.topology import molecule_from_geometry

import sfm
from sfm.data.sample import Sample
from sfm.units import factor

# rdkit's search alone finds no pattern for the nitroarenes that have another substituent
NITRO = (
    "Nc1cccc([N+](=O)[O-])c1",
    "CC(=O)Nc1ccc([N+](=O)[O-])cc1",
    "CCCN(CCC)c1c([N+](=O)[O-])cc(C(F)(F)F)cc1[N+](=O)[O-]",
    "COP(=S)(OC)Oc1ccc([N+](=O)[O-])cc1",
    "CC[C@@H](C)c1cc([N+](=O)[O-])cc([N+](=O)[O-])c1O",
    "O=[N+]([O-])N1CN([N+](=O)[O-])CN([N+](=O)[O-])C1",
)
OTHERS = ("O=[N+]([O-])c1ccccc1", "[O-][n+]1ccccc1", "CN=[N+]=[N-]", "CO[N+](=O)[O-]", "[C-]#[N+]C")


@pytest.mark.parametrize("smiles", [*NITRO, *OTHERS])
def test_bonds_and_formal_charges_are_those_of_the_smiles(smiles):
    types, positions = geometry(embed(smiles))
    molecule = molecule_from_geometry(types, positions)
    assert [a.GetAtomicNum() for a in molecule.GetAtoms()] == types.tolist()
    assert Chem.MolToSmiles(Chem.RemoveHs(molecule)) == Chem.CanonSmiles(smiles)


def test_a_charged_nitroarene_keeps_its_charge():
    types, positions = geometry(embed("C[NH2+]c1cccc([N+](=O)[O-])c1"))
    molecule = molecule_from_geometry(types, positions, charge=1)
    assert Chem.GetFormalCharge(molecule) == 1


def test_a_geometry_of_nitroaniline_has_the_force_field_of_its_smiles():
    smiles = "Nc1cccc([N+](=O)[O-])c1"
    molecule = embed(smiles)
    types, positions = geometry(molecule)
    sample = Sample(id="nitroaniline", domain="molecules", types=types, positions=positions)
    simulator = sfm.simulator("molecules/relax", potential="mmff94")
    seen = float(simulator.potential_energy(simulator.state(sample).systems))
    field = force_field(molecule)
    assert seen == pytest.approx(field.CalcEnergy() * factor("kcal/mol", "eV"), rel=1e-6)
