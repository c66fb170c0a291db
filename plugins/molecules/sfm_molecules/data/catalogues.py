"""Lists of real molecules, read out of published archives as canonical SMILES.

`robocrys` carries 145,158 molecules of up to 12 atoms (modified BSD); `biotite` carries the
chemical component dictionary of the Protein Data Bank, 49,196 ligands and monomers; `chemicals`
carries the identifiers of 73,769 chemicals that are sold (MIT).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from sfm_molecules.data.bcif import read_columns

if TYPE_CHECKING:
    from rdkit.Chem import Atom

ELEMENTS = frozenset(("H", "C", "N", "O", "F", "S", "Cl"))
WIDE_ELEMENTS = ELEMENTS | {"B", "Si", "P", "Br", "I"}
# neutral molecules whose ground state is a triplet: a closed-shell label would be of another state
TRIPLETS = frozenset(("O=O", "O=S", "S=S"))
# of `chemicals`
IDENTIFIERS = tuple(
    f"chemicals/Identifiers/chemical identifiers pubchem {size}.tsv" for size in ("small", "large")
)
_BOND_ORDERS = {"SING": 1, "DOUB": 2, "TRIP": 3}


def robocrys_smiles(content: bytes) -> list[str]:
    """SMILES of `robocrys/condense/molecule_db.json.gz`."""
    database = json.loads(gzip.decompress(content))
    return list(database) if isinstance(database, dict) else [row["smiles"] for row in database]


def chemicals_identifiers(content: bytes) -> Iterator[tuple[str, str]]:
    """(registry number, SMILES) of each line of one of the `IDENTIFIERS`."""
    for line in content.decode().splitlines():
        if line.count("\t") > 4:
            cells = line.split("\t")
            yield cells[1], cells[4]


def ccd_smiles(
    content: bytes, max_atoms: int = 20, elements: Collection[str] = ELEMENTS
) -> Iterator[str]:
    """SMILES of the neutral components of `components.bcif` with up to `max_atoms` atoms.

    The molecule is built from the dictionary's atoms, formal charges and Kekulé bond orders.
    Components that rdkit cannot sanitise are left out.
    """
    from rdkit import Chem, rdBase

    tables = read_columns(
        content,
        {
            "_chem_comp_atom": ("comp_id", "atom_id", "type_symbol", "charge"),
            "_chem_comp_bond": ("comp_id", "atom_id_1", "atom_id_2", "value_order"),
        },
    )
    atoms, bonds = tables["_chem_comp_atom"], tables["_chem_comp_bond"]
    allowed = np.isin(atoms["type_symbol"], [element.upper() for element in elements])
    bond_ranges = _ranges(bonds["comp_id"])
    orders = {name: Chem.BondType.values[number] for name, number in _BOND_ORDERS.items()}
    with rdBase.BlockLogs():
        for component, (start, stop) in _ranges(atoms["comp_id"]).items():
            rows = slice(start, stop)
            neutral = atoms["charge"][rows].sum() == 0
            if stop - start > max_atoms or not allowed[rows].all() or not neutral:
                continue
            molecule = Chem.RWMol()
            index: dict[str, int] = {}
            for row in range(start, stop):
                atom = Chem.Atom(str(atoms["type_symbol"][row]).capitalize())
                atom.SetFormalCharge(int(atoms["charge"][row]))
                atom.SetNoImplicit(True)
                index[str(atoms["atom_id"][row])] = molecule.AddAtom(atom)
            for row in range(*bond_ranges.get(component, (0, 0))):
                ends = (index[str(bonds["atom_id_1"][row])], index[str(bonds["atom_id_2"][row])])
                molecule.AddBond(*ends, orders[str(bonds["value_order"][row])])
            if Chem.SanitizeMol(molecule, catchErrors=True) == Chem.SANITIZE_NONE:
                yield Chem.MolToSmiles(Chem.RemoveHs(molecule), isomericSmiles=False)


def canonical(smiles: str, max_atoms: int = 20, elements: Collection[str] = ELEMENTS) -> str | None:
    """Canonical SMILES without stereo marks, or None if the molecule does not fit the data set.

    Kept: neutral, closed-shell, one fragment, no isotopes, only `elements`, 2 to
    `max_atoms` atoms with hydrogens, at least one of them not hydrogen. Atoms may carry formal
    charges that cancel (a nitro group), but carbon no positive one: drawn so are diradicals and
    molecules that rearrange. O2, SO and S2, which are triplets, are left out.
    """
    from rdkit import Chem, rdBase

    if "." in smiles:
        return None
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or Chem.GetFormalCharge(molecule) or not molecule.GetNumHeavyAtoms():
        return None
    # hydrogens are counted, not added: half of the time of a catalogue went there
    fits = 2 <= molecule.GetNumAtoms(onlyExplicit=False) <= max_atoms
    if not fits or not all(_usual(atom, elements) for atom in molecule.GetAtoms()):
        return None
    written = Chem.MolToSmiles(molecule, isomericSmiles=False)
    return None if written in TRIPLETS else written


def _usual(atom: Atom, elements: Collection[str]) -> bool:
    """One of `elements`, no isotope, no radical, no carbocation."""
    good = atom.GetSymbol() in elements and not atom.GetIsotope()
    good = good and not atom.GetNumRadicalElectrons()
    return good and not (atom.GetAtomicNum() == 6 and atom.GetFormalCharge() > 0)


def _ranges(names: np.ndarray) -> dict[str, tuple[int, int]]:
    """First and one-past-last row of each run of equal names."""
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
    stops = np.r_[starts[1:], len(names)]
    return {str(names[a]): (int(a), int(b)) for a, b in zip(starts, stops, strict=True)}
