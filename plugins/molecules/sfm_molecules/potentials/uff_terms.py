"""Which UFF terms a molecule has, and their parameters, as rdkit assigns them.

UFF: A. K. Rappé et al., J. Am. Chem. Soc. 114, 10024 (1992). Atom types, rest lengths and force
constants come from rdkit; so do its two additions for sp2 atoms in rings of three and four.
Energies are in kcal/mol, lengths in angstrom, angles in radians, as in the paper.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from sfm.errors import InputError
from sfm_molecules.potentials.bonded import Row, Terms, pack, refuse_missing_hydrogens

if TYPE_CHECKING:
    from rdkit.Chem import Atom, Mol

CHALCOGENS = (8, 16, 34, 52, 84)
# number n of the angle term 1 - cos(n theta); 0 is the three-term Fourier series about theta0
LINEAR, TRIGONAL, OCTAHEDRAL, GENERAL = 1, 3, 4, 0
# UFF writes an inversion as k (c0 + c1 cos w + c2 cos 2w); w0 of the elements below nitrogen
INVERSION_ANGLES = {15: 84.4339, 33: 86.9735, 51: 87.7047, 83: 90.0}


def terms(molecule: Mol) -> Terms:
    """The UFF terms of a molecule with explicit hydrogens; fragments interact.

    Atoms and parameters of each kind: bonds, (i, j), (k, r0); angles, (i, centre, k), (k, n,
    theta0); torsions, (i, j, k, l), (V, n, sign); inversions, (i, centre, k, l) with l out of the
    plane, (k, c0, c1, c2); pairs, (i, j), (depth, minimum).

    Raises:
        InputError: UFF has no type for an atom, or hydrogens are missing.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers

    name = refuse_missing_hydrogens(molecule)
    with rdBase.BlockLogs():
        known = rdForceFieldHelpers.UFFHasAllMoleculeParams(molecule)
    if not known:
        raise InputError(f"{name}: UFF has no type for one of its atoms; use a closure instead")
    return {
        "bonds": pack(_bonds(molecule), 2, 2),
        "angles": pack(_angles(molecule), 3, 3),
        "torsions": pack(_torsions(molecule), 4, 3),
        "inversions": pack(_inversions(molecule), 4, 4),
        "pairs": pack(_pairs(molecule), 2, 2),
    }


def _bonds(molecule: Mol) -> list[Row]:
    from rdkit.Chem.rdForceFieldHelpers import GetUFFBondStretchParams

    rows: list[Row] = []
    for bond in molecule.GetBonds():
        ends = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        rows.append((ends, GetUFFBondStretchParams(molecule, *ends)))
    return rows


def _angles(molecule: Mol) -> list[Row]:
    from rdkit.Chem.rdForceFieldHelpers import GetUFFAngleBendParams, GetUFFBondStretchParams

    rows: list[Row] = []
    for centre in molecule.GetAtoms():
        if str(centre.GetHybridization()) == "SP3D" and centre.GetDegree() == 5:
            raise InputError(
                f"atom {centre.GetIdx() + 1} is trigonal bipyramidal, whose angles in UFF depend "
                "on the geometry; use a closure instead"
            )
        j = centre.GetIdx()
        for i, k in combinations(sorted(a.GetIdx() for a in centre.GetNeighbors()), 2):
            constant, degrees = GetUFFAngleBendParams(molecule, i, j, k)
            number, special = _angle_kind(molecule, i, centre, k)
            theta0 = math.radians(degrees)
            if special is not None:
                r1 = GetUFFBondStretchParams(molecule, i, j)[1]
                r2 = GetUFFBondStretchParams(molecule, j, k)[1]
                constant *= _stiffness(special, r1, r2) / _stiffness(theta0, r1, r2)
                theta0 = special
            rows.append(((i, j, k), (constant, number, theta0)))
    return rows


def _angle_kind(molecule: Mol, i: int, centre: Atom, k: int) -> tuple[int, float | None]:
    """Number n of the angle term, and rest angle where rdkit replaces that of the atom type."""
    hybridisation = str(centre.GetHybridization())
    if hybridisation == "SP":
        return LINEAR, None
    if hybridisation == "SP3D2":
        return OCTAHEDRAL, None
    if hybridisation != "SP2":
        return GENERAL, None
    rings = molecule.GetRingInfo()
    for size, outside, inside in ((3, 150.0, 60.0), (4, 135.0, 90.0)):
        if rings.IsAtomInRingOfSize(centre.GetIdx(), size):
            ends = [rings.IsAtomInRingOfSize(end, size) for end in (i, k)]
            if all(ends):
                return GENERAL, math.radians(inside)
            return (GENERAL, math.radians(outside)) if any(ends) else (TRIGONAL, None)
    return TRIGONAL, None


def _stiffness(theta: float, r1: float, r2: float) -> float:
    """Equation 13 of the UFF paper up to a factor that does not depend on theta."""
    cosine = math.cos(theta)
    r3 = math.sqrt(r1 * r1 + r2 * r2 - 2 * r1 * r2 * cosine)
    return (3 * r1 * r2 * (1 - cosine * cosine) - r3 * r3 * cosine) / r3**5


def _torsions(molecule: Mol) -> list[Row]:
    from rdkit import Chem
    from rdkit.Chem.rdForceFieldHelpers import GetUFFTorsionParams

    rows: list[Row] = []
    rotatable = Chem.MolFromSmarts("[!$(*#*)&!D1]~[!$(*#*)&!D1]")
    for j, k in molecule.GetSubstructMatches(rotatable):
        atoms = molecule.GetAtomWithIdx(j), molecule.GetAtomWithIdx(k)
        planar = [str(atom.GetHybridization()) == "SP2" for atom in atoms]
        if any(str(atom.GetHybridization()) not in ("SP2", "SP3") for atom in atoms):
            continue
        order = molecule.GetBondBetweenAtoms(j, k).GetBondTypeAsDouble()
        quartets: list[Row] = []
        for first in atoms[0].GetNeighbors():
            for last in atoms[1].GetNeighbors():
                i, end = first.GetIdx(), last.GetIdx()
                if i in (k, end) or end == j:
                    continue
                height = GetUFFTorsionParams(molecule, i, j, k, end)
                sp2_end = str(first.GetHybridization()) == "SP2"
                sp2_end = sp2_end or str(last.GetHybridization()) == "SP2"
                number, sign = _torsion_kind(atoms, planar, order, sp2_end)
                quartets.append(((i, j, k, end), (height, number, sign)))
        rows += [(index, (v / len(quartets), n, s)) for index, (v, n, s) in quartets]
    return rows


def _torsion_kind(
    atoms: tuple[Atom, Atom], planar: list[bool], order: float, sp2_end: bool
) -> tuple[int, float]:
    """Number n and sign s of the torsion term V/2 (1 - s cos(n phi))."""
    chalcogen = [atom.GetAtomicNum() in CHALCOGENS for atom in atoms]
    if all(planar):
        return 2, 1.0
    if not any(planar):
        return (2, -1.0) if order == 1.0 and all(chalcogen) else (3, -1.0)
    sp3 = 0 if planar[1] else 1
    if order == 1.0 and chalcogen[sp3] and not chalcogen[1 - sp3]:
        return 2, -1.0
    return (3, -1.0) if order == 1.0 and sp2_end else (6, 1.0)


def _inversions(molecule: Mol) -> list[Row]:
    from rdkit.Chem.rdForceFieldHelpers import GetUFFInversionParams

    rows: list[Row] = []
    for centre in molecule.GetAtoms():
        number = centre.GetAtomicNum()
        planar = number in (6, 7, 8) and str(centre.GetHybridization()) == "SP2"
        if centre.GetDegree() != 3 or not (planar or number in INVERSION_ANGLES):
            continue
        i, k, end = (atom.GetIdx() for atom in centre.GetNeighbors())
        for first, second, out in ((i, k, end), (i, end, k), (k, end, i)):
            index = (first, centre.GetIdx(), second, out)
            constant = GetUFFInversionParams(molecule, *index)
            rows.append((index, (constant, *_inversion_series(number))))
    return rows


def _inversion_series(number: int) -> tuple[float, float, float]:
    if number not in INVERSION_ANGLES:
        return 1.0, -1.0, 0.0
    angle = math.radians(INVERSION_ANGLES[number])
    c1 = -4 * math.cos(angle)
    return -(c1 * math.cos(angle) + math.cos(2 * angle)), c1, 1.0


def _pairs(molecule: Mol) -> list[Row]:
    from rdkit import Chem
    from rdkit.Chem.rdForceFieldHelpers import GetUFFVdWParams

    far = Chem.GetDistanceMatrix(molecule) > 2.5  # beyond 1-2 and 1-3; other fragments are far
    rows: list[Row] = []
    for i, j in zip(*np.nonzero(np.triu(far, 1)), strict=True):
        minimum, depth = GetUFFVdWParams(molecule, int(i), int(j))
        rows.append(((int(i), int(j)), (depth, minimum)))
    return rows
