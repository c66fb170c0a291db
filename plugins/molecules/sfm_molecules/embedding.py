"""From a SMILES string to a three-dimensional molecule: ETKDG distance geometry, then MMFF94.

ETKDGv3: S. Wang et al., J. Chem. Inf. Model. 60, 2044 (2020). MMFF94: T. A. Halgren, J. Comput.
Chem. 17, 490 (1996). Molecules that MMFF94 has no types for are relaxed with UFF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.errors import InputError

if TYPE_CHECKING:
    from rdkit.Chem import Mol


MAX_TEXT = 5_000  # characters; parsing is quick, but what it makes is not
MAX_ATOMS = 300  # with hydrogens; distance geometry of more takes minutes or finds nothing
PATIENCE = 60  # seconds


def parse_smiles(smiles: str) -> Mol:
    """The molecule of `smiles`, hydrogens added.

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
    return Chem.AddHs(molecule)


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
    from sfm_molecules.fragments import place_fragments

    if place_fragments(molecule, smiles, seed=seed, relax=relax):
        return molecule
    embed_molecule(molecule, smiles, seed=seed)
    if relax:
        minimise(molecule)
    return molecule


def embed_molecule(molecule: Mol, smiles: str, *, seed: int = 0) -> None:
    """Give a connected molecule a conformer.

    Raises:
        InputError: none is found.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdDistGeom

    options: Any = rdDistGeom.ETKDGv3()
    options.randomSeed = seed % (2**31 - 1)
    options.timeout = PATIENCE
    with rdBase.BlockLogs():
        failed = rdDistGeom.EmbedMolecule(molecule, options)
        if failed:
            options.useRandomCoords = True
            failed = rdDistGeom.EmbedMolecule(molecule, options)
        if failed:
            raise InputError(f"no three-dimensional geometry was found for SMILES '{smiles}'")


def minimise(molecule: Mol) -> bool:
    """Relax the conformer; False where no force field has types for the molecule."""
    from rdkit import rdBase

    with rdBase.BlockLogs():
        field = force_field(molecule)
        if field is not None:
            field.Minimize(maxIts=2000, forceTol=1e-4, energyTol=1e-8)
    return field is not None


def force_field(molecule: Mol):
    """rdkit's MMFF94 for the molecule's conformer, UFF where MMFF94 has no types, else None.

    Fragments interact.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers as fields

    with rdBase.BlockLogs():
        if fields.MMFFHasAllMoleculeParams(molecule):
            types = fields.MMFFGetMoleculeProperties(molecule)
            return fields.MMFFGetMoleculeForceField(
                molecule, types, ignoreInterfragInteractions=False
            )
        if fields.UFFHasAllMoleculeParams(molecule):
            return fields.UFFGetMoleculeForceField(molecule, ignoreInterfragInteractions=False)
    return None


def geometry(molecule: Mol) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers (n,) and positions (n, 3) in angstrom of the first conformer."""
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    return numbers, np.array(molecule.GetConformer().GetPositions(), dtype=np.float64)
