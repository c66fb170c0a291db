"""A geometry for a molecule's bonds: ETKDG distance geometry, then MMFF94.

ETKDGv3: S. Wang et al., J. Chem. Inf. Model. 60, 2044 (2020). MMFF94: T. A. Halgren, J. Comput.
Chem. 17, 490 (1996). Molecules that MMFF94 has no types for are relaxed with UFF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from sfm.errors import InputError

if TYPE_CHECKING:
    from rdkit.Chem import Mol
    from rdkit.ForceField.rdForceField import ForceField

PATIENCE = 60  # seconds


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


def force_field(molecule: Mol) -> ForceField | None:
    """rdkit's MMFF94 for the molecule's conformer, UFF where MMFF94 has no types, else None.

    Fragments interact.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers as fields

    field: ForceField | None = None
    with rdBase.BlockLogs():
        if fields.MMFFHasAllMoleculeParams(molecule):
            types = fields.MMFFGetMoleculeProperties(molecule)
            field = fields.MMFFGetMoleculeForceField(
                molecule, types, ignoreInterfragInteractions=False
            )
        elif fields.UFFHasAllMoleculeParams(molecule):
            field = fields.UFFGetMoleculeForceField(molecule, ignoreInterfragInteractions=False)
    return field


def geometry(molecule: Mol) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """Atomic numbers (n,) and positions (n, 3) in angstrom of the first conformer."""
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    return numbers, np.array(molecule.GetConformer().GetPositions(), dtype=np.float64)
