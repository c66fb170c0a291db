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

    xyz2mol: Y. Kim and W. Y. Kim, Bull. Korean Chem. Soc. 36, 1769 (2015), as rdkit has it, which
    finds no pattern for many nitroarenes (nitroaniline): their nitro groups are set apart then.

    Args:
        types: (n,) atomic numbers. positions: (n, 3), angstrom.
        charge: total charge in e.
        name: for messages.

    Raises:
        InputError: no bonding pattern fits.
    """
    from rdkit import Chem, rdBase

    failures = (ValueError, RuntimeError, Chem.MolSanitizeException)
    with rdBase.BlockLogs():
        try:
            molecule = _perceived(_atoms(types, positions), charge)
        except failures as error:
            reason = str(error).strip().splitlines()[0]
            try:
                molecule = _with_nitro_groups(_atoms(types, positions), charge)
            except failures:
                raise InputError(
                    f"{name}: no bonds could be found from the geometry ({reason}); "
                    "give the molecule as SMILES, or use a closure with potential=none"
                ) from None
    molecule.SetProp("_Name", name)
    return molecule


def _perceived(molecule: Mol, charge: int) -> Mol:
    """The atoms with bonds."""
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    rdDetermineBonds.DetermineBonds(molecule, charge=charge)
    Chem.SanitizeMol(molecule)
    return molecule


def _with_nitro_groups(molecule: Mol, charge: int) -> Mol:
    """The atoms with bonds: orders are sought with a fluorine in the place of each nitro group.

    Raises:
        ValueError: there is no nitro group, or still no pattern.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    rdDetermineBonds.DetermineConnectivity(molecule)
    groups = {}
    for atom in molecule.GetAtoms():
        ends = [a.GetIdx() for a in atom.GetNeighbors()
                if a.GetAtomicNum() == 8 and a.GetDegree() == 1]  # fmt: skip
        if atom.GetAtomicNum() == 7 and atom.GetDegree() == 3 and len(ends) == 2:
            groups[atom.GetIdx()] = ends
    if not groups:
        raise ValueError("no nitro group")
    away = {end for ends in groups.values() for end in ends}
    kept = [i for i in range(molecule.GetNumAtoms()) if i not in away]
    reduced = Chem.RWMol(molecule)
    for nitrogen in groups:
        reduced.GetAtomWithIdx(nitrogen).SetAtomicNum(9)
    for end in sorted(away, reverse=True):
        reduced.RemoveAtom(end)
    rdDetermineBonds.DetermineBondOrders(reduced, charge=charge, embedChiral=False)
    Chem.Kekulize(reduced, clearAromaticFlags=True)

    for atom in reduced.GetAtoms():
        molecule.GetAtomWithIdx(kept[atom.GetIdx()]).SetFormalCharge(atom.GetFormalCharge())
    for bond in reduced.GetBonds():
        begin, end = kept[bond.GetBeginAtomIdx()], kept[bond.GetEndAtomIdx()]
        molecule.GetBondBetweenAtoms(begin, end).SetBondType(bond.GetBondType())
    for nitrogen, (double, single) in groups.items():
        molecule.GetAtomWithIdx(nitrogen).SetFormalCharge(1)
        molecule.GetAtomWithIdx(single).SetFormalCharge(-1)
        molecule.GetBondBetweenAtoms(nitrogen, double).SetBondType(Chem.BondType.DOUBLE)
    Chem.SanitizeMol(molecule)
    Chem.AssignStereochemistryFrom3D(molecule)
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
