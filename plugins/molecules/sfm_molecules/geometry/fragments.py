"""Disconnected molecules: each fragment gets its own geometry, then they are put side by side.

Distance geometry knows no distance between atoms that no bonds connect, and puts the fragments on
top of each other. Here the second touches the first, the third both, and so on: van der Waals
spheres (S. Alvarez, Dalton Trans. 42, 8617 (2013), as rdkit has them) in contact along the
direction, out of fourteen, where the force field's energy is lowest. Then all relax together.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sfm.errors import InputError, InputWarning
from sfm_molecules.geometry.conformers import embed_molecule, force_field, minimise

if TYPE_CHECKING:
    from rdkit.Chem import Mol

DIRECTIONS = np.array(
    [d for d in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, d)) in (1, 3)], dtype=float
)
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)


def place_fragments(molecule: Mol, smiles: str, *, seed: int = 0, relax: bool = True) -> bool:
    """Give a disconnected molecule a conformer; False where it is connected.

    Raises:
        InputError: several fragments are charged: ions attract until they react, or fly apart, and
            a string of bonds does not say what they do in the gas phase.
    """
    from rdkit import Chem

    atoms: list[tuple[int, ...]] = []
    parts = Chem.GetMolFrags(molecule, asMols=True, fragsMolAtomMapping=atoms)
    if len(parts) < 2:
        return False
    ions = [p for p in parts if Chem.GetFormalCharge(p) != 0]
    if len(ions) > 1:
        names = ", ".join(Chem.MolToSmiles(Chem.RemoveHs(p)) for p in ions)
        raise InputError(
            f"'{smiles}' is made of ions ({names}), for which bonds give no geometry in the gas "
            "phase; give a file with coordinates, or one ion alone"
        )
    for part in parts:
        embed_molecule(part, smiles, seed=seed)
        minimise(part)
    radius = Chem.GetPeriodicTable().GetRvdw
    placed = Chem.Mol(parts[0])
    for part in parts[1:]:
        placed = _beside(placed, part, radius)
    conformer = Chem.Conformer(molecule.GetNumAtoms())
    order = list(itertools.chain.from_iterable(atoms))
    for index, place in zip(order, placed.GetConformer().GetPositions(), strict=True):
        conformer.SetAtomPosition(index, place.tolist())
    conformer.Set3D(True)
    molecule.AddConformer(conformer, assignId=True)
    relaxed = relax and minimise(molecule)
    warnings.warn(
        f"'{smiles}': {len(parts)} molecules, placed at van der Waals contact"
        + (" and relaxed with a force field" if relaxed else "")
        + "; other arrangements may lie lower",
        InputWarning,
        stacklevel=4,
    )
    return True


def _beside(placed: Mol, part: Mol, radius: Callable[[int], float]) -> Mol:
    """Both in one molecule, in contact."""
    from rdkit import Chem, rdBase

    fixed, moved = (m.GetConformer().GetPositions() for m in (placed, part))
    reach = np.add.outer(
        [radius(a.GetAtomicNum()) for a in placed.GetAtoms()],
        [radius(a.GetAtomicNum()) for a in part.GetAtoms()],
    )
    start = moved - moved.mean(0) + fixed.mean(0)
    best, lowest = None, np.inf
    for direction in DIRECTIONS:
        # along the line of centres the pair d apart touches where |d + t u| is its reach
        apart = start[None] - fixed[:, None]
        along = apart @ direction
        gap = reach**2 - (apart**2).sum(-1) + along**2
        contact = np.where(gap > 0, np.sqrt(gap.clip(0)) - along, 0.0).max()
        both = Chem.CombineMols(placed, part)
        conformer = both.GetConformer()
        for index, place in enumerate(start + max(float(contact), 0.0) * direction):
            conformer.SetAtomPosition(len(fixed) + index, place.tolist())
        with rdBase.BlockLogs():
            Chem.SanitizeMol(both)
            field = force_field(both)
        energy = 0.0 if field is None else field.CalcEnergy()
        if energy < lowest:
            best, lowest = both, energy
    assert best is not None
    return best
