"""Geometries of small molecules from SMILES: rdkit distance geometry, then GFN2-xTB relaxation."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

ELEMENTS = (1, 6, 7, 8, 9)
SIMPLE = ("[HH]", "F", "N#N", "[C-]#[O+]", "O", "N", "C", "C=O", "C#C", "C=C", "C#N", "FF", "OO")


def small_molecules(
    archive_member: bytes, max_atoms: int = 8, elements: Collection[int] = ELEMENTS
) -> list[str]:
    """Canonical SMILES of the neutral closed-shell single-fragment molecules of `elements`.

    archive_member: the gzipped JSON object whose keys are SMILES (robocrys' molecule database).
    max_atoms: hydrogens included. Sorted, without duplicates; stereochemistry is dropped.
    """
    names = [*json.loads(gzip.decompress(archive_member)), *SIMPLE]
    return sorted(set(_admissible(names, max_atoms, elements)))


def _admissible(smiles: Iterable[str], max_atoms: int, elements: Collection[int]) -> Iterable[str]:
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    for text in smiles:
        if "." in text or len(text) > 60:
            continue
        molecule = Chem.MolFromSmiles(text)
        if molecule is None or Chem.GetFormalCharge(molecule) != 0:
            continue
        atoms = list(molecule.GetAtoms())
        if not all(_ordinary(atom, elements) for atom in atoms):
            continue
        count = sum(1 + atom.GetTotalNumHs() for atom in atoms)
        canonical = Chem.MolToSmiles(molecule, isomericSmiles=False)
        if 2 <= count <= max_atoms and canonical != "O=O":  # singlet O2 is not a ground state
            yield canonical


def _ordinary(atom: Any, elements: Collection[int]) -> bool:
    """One of `elements`, no radical, no isotope, no charged carbon but in CO and isocyanides."""
    if atom.GetAtomicNum() not in elements or atom.GetNumRadicalElectrons() or atom.GetIsotope():
        return False
    triple = any(bond.GetBondTypeAsDouble() == 3.0 for bond in atom.GetBonds())
    return (
        atom.GetAtomicNum() != 6
        or atom.GetFormalCharge() == 0
        or (triple and atom.GetFormalCharge() == -1)
    )


def count_electrons(smiles: str) -> int:
    """Electrons of a neutral molecule given as SMILES, hydrogens included."""
    from rdkit import Chem

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    return sum(atom.GetAtomicNum() for atom in molecule.GetAtoms())


def embed(smiles: str, seed: int) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]] | None:
    """Atomic numbers (n,) and positions (n, 3) in angstrom by ETKDG, or None if it fails."""
    from rdkit import Chem, RDLogger
    from rdkit.Chem import AllChem

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    code = AllChem.EmbedMolecule(  # type: ignore[attr-defined]
        molecule, randomSeed=seed & 0x7FFFFFFF
    )
    if code != 0:
        return None
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.int64)
    return numbers, np.asarray(molecule.GetConformer().GetPositions())


def relax(
    numbers: Int[np.ndarray, " n"], positions: Float[np.ndarray, "n 3"], steps: int = 150
) -> Float[np.ndarray, "n 3"] | None:
    """Positions (n, 3) in angstrom at the GFN2-xTB minimum (forces below 0.02 eV/angstrom).

    Returns None where the optimiser fails or does not arrive within ``steps``.
    """
    from ase import Atoms
    from ase.optimize import BFGS
    from tblite.ase import TBLite

    atoms = Atoms(numbers=numbers, positions=positions)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    try:
        converged = BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=0.02, steps=steps)
    except (RuntimeError, ValueError):  # tblite's SCF or ase's optimiser gave up
        return None
    except Exception as error:  # ase wraps engine failures in its own class
        if type(error).__module__.startswith(("ase.", "tblite.")):
            return None
        raise
    return atoms.get_positions() if converged else None


def displace(
    positions: Float[np.ndarray, "n 3"], seed: int, scale: float = 0.07
) -> Float[np.ndarray, "n 3"]:
    """Positions (n, 3) moved by Gaussian noise of ``scale`` angstrom per coordinate."""
    generator = np.random.default_rng(seed)
    return positions + scale * generator.standard_normal(positions.shape)
