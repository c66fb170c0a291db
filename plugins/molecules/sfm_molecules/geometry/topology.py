"""From atoms and positions to an rdkit molecule: which atoms are bonded, and by what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from sfm.errors import InputError

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def molecule_from_geometry(
    types: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    *,
    charge: int = 0,
    name: str = "molecule",
) -> Mol:
    """Bonds and bond orders perceived from a geometry near a minimum.

    xyz2mol: Y. Kim and W. Y. Kim, Bull. Korean Chem. Soc. 36, 1769 (2015), as rdkit has it.

    Args:
        types: (n,) atomic numbers. positions: (n, 3), angstrom.
        charge: total charge in e.
        name: for messages.

    Raises:
        InputError: no bonding pattern fits.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    molecule = _atoms(types, positions)
    molecule.SetProp("_Name", name)
    with rdBase.BlockLogs():
        try:
            rdDetermineBonds.DetermineBonds(molecule, charge=charge)
            Chem.SanitizeMol(molecule)
        except (ValueError, RuntimeError, Chem.MolSanitizeException) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{name}: no bonds could be found from the geometry ({reason}); "
                "give the molecule as SMILES, or use a closure with potential=none"
            ) from None
    return molecule


def bonded_pairs(
    types: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"]
) -> Int[np.ndarray, "m 2"]:
    """(m, 2) indices of atoms that are near enough to be bonded: what bond orders follow from.

    types: (n,) atomic numbers. positions: (n, 3), angstrom.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdDetermineBonds

    molecule = _atoms(types, positions)
    with rdBase.BlockLogs():
        rdDetermineBonds.DetermineConnectivity(molecule)
    return bonds_of(molecule, hydrogens=False)


def _atoms(types: np.ndarray, positions: np.ndarray) -> Mol:
    """A molecule of atoms at their places, without bonds."""
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    editable = Chem.RWMol()
    conformer = Chem.Conformer(len(types))
    for i, (number, x) in enumerate(zip(types, positions, strict=True)):
        atom = Chem.Atom(int(number))
        atom.SetNoImplicit(True)
        editable.AddAtom(atom)
        conformer.SetAtomPosition(i, Point3D(*map(float, x)))
    editable.AddConformer(conformer)
    return editable.GetMol()


def bonds_of(molecule: Mol, *, hydrogens: bool) -> Int[np.ndarray, "m 2"]:
    """(m, 2) indices of bonded atoms; those bonds alone that a hydrogen has, with `hydrogens`."""
    pairs = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        for bond in molecule.GetBonds()
        if not hydrogens
        or 1 in (bond.GetBeginAtom().GetAtomicNum(), bond.GetEndAtom().GetAtomicNum())
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
