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


def parse_smiles(smiles: str) -> Mol:
    """The molecule of `smiles`, hydrogens added.

    Raises:
        InputError: rdkit cannot read the string.
    """
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles.strip() else None
    if molecule is None:
        raise InputError(f"'{smiles}' is not a SMILES string that rdkit can read")
    return Chem.AddHs(molecule)


def embed(smiles: str, *, seed: int = 0, relax: bool = True) -> Mol:
    """A molecule with hydrogens and one conformer (angstrom).

    The same `smiles` and `seed` give the same geometry.

    Raises:
        InputError: `smiles` cannot be read or no geometry is found for it.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdDistGeom

    molecule = parse_smiles(smiles)
    options: Any = rdDistGeom.ETKDGv3()
    options.randomSeed = seed % (2**31 - 1)
    with rdBase.BlockLogs():
        failed = rdDistGeom.EmbedMolecule(molecule, options)
        if failed:
            options.useRandomCoords = True
            failed = rdDistGeom.EmbedMolecule(molecule, options)
        if failed:
            raise InputError(f"no three-dimensional geometry was found for SMILES '{smiles}'")
        if relax:
            field = force_field(molecule)
            if field is not None:
                field.Minimize(maxIts=2000, forceTol=1e-4, energyTol=1e-8)
    return molecule


def force_field(molecule: Mol):
    """rdkit's MMFF94 for the molecule's conformer, UFF where MMFF94 has no types, else None."""
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers as fields

    with rdBase.BlockLogs():
        if fields.MMFFHasAllMoleculeParams(molecule):
            types = fields.MMFFGetMoleculeProperties(molecule)
            return fields.MMFFGetMoleculeForceField(molecule, types)
        if fields.UFFHasAllMoleculeParams(molecule):
            return fields.UFFGetMoleculeForceField(molecule)
    return None


def geometry(molecule: Mol) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers (n,) and positions (n, 3) in angstrom of the first conformer."""
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    return numbers, np.array(molecule.GetConformer().GetPositions(), dtype=np.float64)
