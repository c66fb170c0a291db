"""Building `g2-atomisation`: energies of atomisation from measured enthalpies of formation.

Both levels give D_e, atoms minus molecule at the bottom of the well, with the zero-point energy ZPE
of ase's tables (B3LYP, scaled):

- G2/97 (Curtiss et al., J. Chem. Phys. 106, 1063 (1997)), from enthalpies H of atoms at 0 K and of
  the molecule at 298 K, and thermal corrections T: D_e = sum_atoms (H - T) - H + T + ZPE.
- the Active Thermochemical Tables (Ruscic et al., J. Phys. Chem. A 108, 9979 (2004)), from
  enthalpies at 0 K throughout: D_e = sum_atoms H - H + ZPE. Their uncertainty is that of H of the
  molecule, 95 %.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sfm.data.sources import fetch, read_member
from sfm.data.splits import assign
from sfm.data.storage import GROUP, ID, SPLIT, TYPES, Column, positions_column
from sfm.units import factor
from sfm_dft.data.geometry import ELEMENTS
from sfm_dft.data.specs import ATCT, EXPERIMENT

ARCHIVE = ("chemicals", "1.5.2", "f85ef7f36e77fee6")
MEMBER = "chemicals/Reactions/ATcT 1.112 (g).tsv"
OTHER_STATE = ("CH2_s1A1d",)  # a singlet; the table's CH2 is the triplet
ATOMS = {
    "H": "12385-13-6",
    "C": "7440-44-0",
    "N": "17778-88-0",
    "O": "17778-80-2",
    "F": "14762-94-8",
}  # CAS registry numbers of free atoms
ENERGY = Column("atomisation_energy", "eV", "label", EXPERIMENT, (), "float64")
ACTIVE = Column("atomisation_energy", "eV", "label", ATCT, (), "float64")
UNCERTAINTY = Column("atomisation_energy_uncertainty", "eV", "label", ATCT, (), "float64")


def columns() -> list[Column]:
    """Columns of `g2-atomisation`."""
    listed = [ID, SPLIT, GROUP, positions_column(), TYPES, Column("charge", "e", "condition")]
    return [*listed, ENERGY, ACTIVE, UNCERTAINTY]


def rows() -> Iterator[dict[str, Any]]:
    """Closed-shell molecules of H, C, N, O, F in ase's G2 tables; ATcT where it has them."""
    from ase.build import molecule
    from ase.data.g2 import data, molecule_names

    tables: dict[str, Any] = data
    active = active_tables()
    for name in sorted(molecule_names):
        atoms = molecule(name)
        if tables[name]["magmoms"] is not None or not set(atoms.numbers) <= set(ELEMENTS):
            continue
        if len(atoms) < 2 or sum(atoms.numbers) % 2:
            continue
        row = {
            "id": name,
            "split": assign(name, (0.6, 0.1, 0.3)),
            "group": name,
            "positions[angstrom]": atoms.positions,
            "types[1]": atoms.numbers,
            "charge[e]": 0.0,
            ENERGY.name: g2_energy(name, atoms.symbols) * factor("kcal/mol", "eV"),
        }
        entry = active.get(registry_number(tables[name]["CAS No."]))
        if entry is not None and name not in OTHER_STATE:
            zero_point = tables[name]["ZPE"] * factor("kcal/mol", "eV")
            free = sum(enthalpy(active[ATOMS[symbol]]) for symbol in atoms.symbols)
            row[ACTIVE.name] = free - enthalpy(entry) + zero_point
            row[UNCERTAINTY.name] = float(entry["uncertainty"]) * factor("J/mol", "eV")
        yield row


def active_tables() -> dict[str, dict[str, str]]:
    """Rows of ATcT 1.112 by CAS number: `Hfg_0K` and `uncertainty` in J/mol."""
    text = read_member(fetch(*ARCHIVE), MEMBER).decode()
    return {row["CAS"]: row for row in csv.DictReader(text.splitlines(), delimiter="\t")}


def registry_number(digits: int) -> str:
    """A CAS number from ase's, which lacks the hyphens.

    >>> registry_number(74828)
    '74-82-8'
    """
    return f"{digits // 1000}-{digits // 10 % 100:02d}-{digits % 10}"


def enthalpy(entry: Mapping[str, str]) -> float:
    """Enthalpy of formation of a gas at 0 K, eV."""
    return float(entry["Hfg_0K"]) * factor("J/mol", "eV")


def g2_energy(name: str, symbols: Iterable[str]) -> float:
    """D_e of a molecule of G2/97, kcal/mol; ase's own function knows half of the set."""
    from ase.data.g2 import data

    tables: dict[str, Any] = data
    entry = tables[name]
    atoms = sum(tables[a]["enthalpy"] - tables[a]["thermal correction"] for a in symbols)
    return float(atoms - entry["enthalpy"] + entry["thermal correction"] + entry["ZPE"])
