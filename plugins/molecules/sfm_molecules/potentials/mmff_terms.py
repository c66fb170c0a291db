"""Which MMFF94 terms a molecule has, and their parameters, as rdkit assigns them.

T. A. Halgren, J. Comput. Chem. 17, 490-519 (1996), part I, and 520-641, parts II to V. Atom types,
charges, force constants and rest values come from rdkit's `MMFFMolProperties`; it shows all of them
but one, whether a centre is linear, which follows from its atom type. Energies are in kcal/mol,
lengths in angstrom, angles in degrees, as in the papers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from sfm.errors import InputError
from sfm_molecules.potentials.bonded import Row, Terms, pack, refuse_missing_hydrogens

if TYPE_CHECKING:
    from rdkit.Chem import Mol

# CSP (=C=, alkyne), =N= (azide, diazo), NR% (isonitrile, diazonium): `linh` of MMFFPROP.PAR
LINEAR_TYPES = (4, 53, 61)
CHARGED = 1e-10  # e, below which a charge is none
FAR_SHARE, NEAR_SHARE = 1.0, 0.75  # of electrostatics; the latter between ends of a dihedral angle


def terms(molecule: Mol, variant: str = "MMFF94") -> Terms:
    """The MMFF94 terms of a molecule with explicit hydrogens; fragments interact.

    Atoms and parameters of each kind: bonds, (i, j), (kb, r0); angles, (i, centre, k), (ka, theta0,
    1 if linear); stretch_bends, (i, centre, k), (kba of i, kba of k, r0 of i, r0 of k, theta0);
    planes, (i, centre, k, l) with l out of the plane, (koop,); torsions, (i, j, k, l), (V1, V2,
    V3); pairs, (i, j), (depth, minimum); charges, (i, j), (q_i q_j times the share,).

    Args:
        variant: `MMFF94`, or `MMFF94s`, which keeps trigonal nitrogens flat.

    Raises:
        InputError: MMFF94 has no type for an atom, or hydrogens are missing.
    """
    from rdkit import rdBase
    from rdkit.Chem import rdForceFieldHelpers

    name = refuse_missing_hydrogens(molecule)
    with rdBase.BlockLogs():
        known = rdForceFieldHelpers.MMFFGetMoleculeProperties(molecule, mmffVariant=variant)
    if known is None:
        raise InputError(
            f"{name}: {variant} has no type for one of its atoms; take potential=uff, or a closure"
        )
    return {
        "bonds": pack(_bonds(molecule, known), 2, 2),
        "angles": pack(list(_angles(molecule, known)), 3, 3),
        "stretch_bends": pack(list(_stretch_bends(molecule, known)), 3, 5),
        "planes": pack(list(_planes(molecule, known)), 4, 1),
        "torsions": pack(list(_torsions(molecule, known)), 4, 3),
        "pairs": pack(list(_pairs(molecule, known)), 2, 2),
        "charges": pack(list(_charges(molecule, known)), 2, 1),
    }


def _bonds(molecule: Mol, known: Any) -> list[Row]:
    rows: list[Row] = []
    for bond in molecule.GetBonds():
        ends = (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        stretch = known.GetMMFFBondStretchParams(molecule, *ends)
        if stretch is not None:
            rows.append((ends, stretch[1:]))
    return rows


def _triples(molecule: Mol) -> Iterator[tuple[int, int, int]]:
    """Every angle: an atom, the centre, another atom."""
    for centre in molecule.GetAtoms():
        for i, k in combinations([atom.GetIdx() for atom in centre.GetNeighbors()], 2):
            yield i, centre.GetIdx(), k


def _angles(molecule: Mol, known: Any) -> Iterator[Row]:
    for triple in _triples(molecule):
        bend = known.GetMMFFAngleBendParams(molecule, *triple)
        if bend is not None:
            linear = known.GetMMFFAtomType(triple[1]) in LINEAR_TYPES
            yield triple, (*bend[1:], float(linear))


def _stretch_bends(molecule: Mol, known: Any) -> Iterator[Row]:
    for i, j, k in _triples(molecule):
        if known.GetMMFFAtomType(j) in LINEAR_TYPES:
            continue
        coupling = known.GetMMFFStretchBendParams(molecule, i, j, k)
        if coupling is not None:
            rest = (known.GetMMFFBondStretchParams(molecule, *ends)[2] for ends in ((i, j), (j, k)))
            theta0 = known.GetMMFFAngleBendParams(molecule, i, j, k)[2]
            yield (i, j, k), (*coupling[1:], *rest, theta0)


def _planes(molecule: Mol, known: Any) -> Iterator[Row]:
    for centre in molecule.GetAtoms():
        if centre.GetDegree() != 3:
            continue
        i, k, end = (atom.GetIdx() for atom in centre.GetNeighbors())
        j = centre.GetIdx()
        constant = known.GetMMFFOopBendParams(molecule, i, j, k, end)
        if constant is not None:
            for first, second, out in ((i, k, end), (i, end, k), (k, end, i)):
                yield (first, j, second, out), (constant,)


def _torsions(molecule: Mol, known: Any) -> Iterator[Row]:
    from rdkit import Chem

    rotatable = Chem.MolFromSmarts("[!$(*#*)&!D1]~[!$(*#*)&!D1]")
    for j, k in molecule.GetSubstructMatches(rotatable, maxMatches=10**6):
        atoms = molecule.GetAtomWithIdx(j), molecule.GetAtomWithIdx(k)
        if any(str(atom.GetHybridization()) not in ("SP2", "SP3") for atom in atoms):
            continue
        for first in atoms[0].GetNeighbors():
            for last in atoms[1].GetNeighbors():
                i, end = first.GetIdx(), last.GetIdx()
                if i in (k, end) or end == j:
                    continue
                heights = known.GetMMFFTorsionParams(molecule, i, j, k, end)
                if heights is not None:
                    yield (i, j, k, end), heights[1:]


def _apart(molecule: Mol) -> Iterator[tuple[int, int, float]]:
    """Pairs beyond 1-3, and how many bonds are between; between fragments there are very many."""
    from rdkit import Chem

    bonds = Chem.GetDistanceMatrix(molecule)
    for i, j in zip(*np.nonzero(np.triu(bonds > 2.5, 1)), strict=True):
        yield int(i), int(j), float(bonds[i, j])


def _pairs(molecule: Mol, known: Any) -> Iterator[Row]:
    for i, j, _ in _apart(molecule):
        *_, minimum, depth = known.GetMMFFVdWParams(i, j)
        yield (i, j), (depth, minimum)


def _charges(molecule: Mol, known: Any) -> Iterator[Row]:
    q = [known.GetMMFFPartialCharge(i) for i in range(molecule.GetNumAtoms())]
    for i, j, between in _apart(molecule):
        if min(abs(q[i]), abs(q[j])) > CHARGED:
            yield (i, j), (q[i] * q[j] * (NEAR_SHARE if between < 3.5 else FAR_SHARE),)
