"""From a SMILES string to a three-dimensional molecule, in one piece or in several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfm.errors import InputError
from sfm_molecules.geometry.conformers import embed_molecule, minimise
from sfm_molecules.geometry.fragments import place_fragments

if TYPE_CHECKING:
    from rdkit.Chem import Mol


MAX_TEXT = 5_000  # characters; parsing is quick, but what it makes is not
MAX_ATOMS = 300  # with hydrogens; distance geometry of more takes minutes or finds nothing


def parse_smiles(smiles: str, *, hydrogens: bool = True) -> Mol:
    """The molecule of `smiles`, its hydrogens as atoms unless told otherwise.

    Raises:
        InputError: rdkit cannot read the string, or it is longer than `MAX_TEXT`.
    """
    from rdkit import Chem, rdBase

    if len(smiles) > MAX_TEXT:
        raise InputError(
            f"'{smiles[:40]}...' has {len(smiles)} characters, at most {MAX_TEXT} are read as "
            "SMILES; give a file with coordinates"
        )
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if molecule is None:
        raise InputError(f"'{smiles}' is not a SMILES string that rdkit can read")
    return Chem.AddHs(molecule) if hydrogens else molecule


def embed(smiles: str, *, seed: int = 0, relax: bool = True) -> Mol:
    """A molecule with hydrogens and one conformer (angstrom).

    The same `smiles` and `seed` give the same geometry. The fragments of a disconnected one are
    placed at van der Waals contact and relaxed together, which an `InputWarning` says.

    Raises:
        InputError: `smiles` cannot be read, has more than `MAX_ATOMS` atoms, is a salt, or no
            geometry is found for it.
    """
    molecule = parse_smiles(smiles)
    if molecule.GetNumAtoms() > MAX_ATOMS:
        raise InputError(
            f"SMILES '{smiles[:40]}' has {molecule.GetNumAtoms()} atoms, at most {MAX_ATOMS} get a "
            "geometry from their bonds; give a file with coordinates"
        )
    if place_fragments(molecule, smiles, seed=seed, relax=relax):
        return molecule
    embed_molecule(molecule, smiles, seed=seed)
    if relax:
        minimise(molecule)
    return molecule
