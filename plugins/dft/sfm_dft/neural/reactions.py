"""Atomisation and ionisation energies: what is tested, and what may be trained on.

Test: the 104 atomisation and 18 ionisation energies of Kasim and Vinko, Phys. Rev. Lett. 127,
126403 (2021), with the errors of functionals that they publish (`reference.csv`; ethylene oxide
stands there twice). External, disjoint from the test by molecule and reaction: the 45 molecules of
G2/97 that the test lacks, and the second ionisation energies of atoms, NIST Atomic Spectra
Database. None has spin-orbit corrections, as in the test.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from sfm_dft.neural.species import species

REFERENCE = Path(__file__).parent / "reference.csv"
KCAL = 627.5094740631  # kcal/mol per hartree
EV = 23.060547830619  # kcal/mol per electronvolt

Kind = Literal["atomisation", "ionisation"]
Part = Literal["test", "external"]

ALIASES = {
    "H2S": "SH2", "HS": "SH", "C2H": "CCH", "SiH2": "SiH2_s1A1d", "CF2O": "COF2",
    "CH3CCH": "C3H4_C3v", "CH2CCH2": "C3H4_D2d", "C3H4": "C3H4_C2v", "C3H6": "C3H6_D3h",
    "C4H6 (Methylenecyclopropane)": "methylenecyclopropane", "C4H6 (Cyclobutene)": "cyclobutene",
    "CH3CH(CH3)CH3": "isobutane", "CH2F2": "H2CF2", "CHF3": "HCF3", "CH2Cl2": "H2CCl2",
    "CHCl3": "HCCl3", "C2H5N": "CH2NHCH2", "C2N2": "NCCN", "CH2CO": "H2CCO", "C2H4O": "CH2OCH2",
    "C2H2O2": "OCHCHO", "CH2CHF": "H2CCHF", "C4H5N": "C4H4NH",
}  # fmt: skip
"""Names of the published table that differ from ase's."""

SECOND = {
    "Li": 75.640097, "Be": 18.21115, "B": 25.15483, "C": 24.383143, "N": 29.60125, "O": 35.12112,
    "F": 34.97081, "Ne": 40.96297, "Na": 47.28636, "Mg": 15.035271, "Al": 18.82855, "Si": 16.34585,
    "P": 19.76949, "S": 23.33788, "Cl": 23.81364, "Ar": 27.62967,
}  # fmt: skip
"""Second ionisation energies, eV, NIST Atomic Spectra Database."""


@dataclass(frozen=True)
class Reaction:
    """E = sum of coefficient times total energy; reference and published errors in kcal/mol."""

    name: str
    kind: Kind
    part: Part
    coefficients: Mapping[str, int]
    reference: float
    published: Mapping[str, float] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The molecule or element that the reaction is about: folds are made by it."""
        return next(iter(self.coefficients))


@cache
def reactions() -> tuple[Reaction, ...]:
    """All reactions, test first."""
    return (*_test(), *_external())


def names_of(chosen: Iterable[Reaction]) -> list[str]:
    """Species of the reactions, small ones first; without the bare proton, whose energy is 0."""
    names = {name for reaction in chosen for name in reaction.coefficients} - {"H+1"}
    return sorted(names, key=lambda name: (len(species(name).symbols), name))


def _test() -> list[Reaction]:
    listed = []
    with REFERENCE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    for row in rows:
        title = row["system"]
        formula = title.split(" (")[0]
        published = {
            key.removesuffix("_error"): float(value)
            for key, value in row.items()
            if key.endswith("_error") and 0 < abs(float(value)) < 1e9  # 9e99 and 0: not computed
        }
        reference = float(row["reference_kcal_mol"])
        if row["group"].startswith("IP"):
            change = {formula: -1, f"{formula}+1": 1}
            listed.append(Reaction(title, "ionisation", "test", change, reference, published))
        else:
            name = ALIASES.get(title) or ALIASES.get(formula) or formula
            listed.append(
                Reaction(title, "atomisation", "test", _into_atoms(name), reference, published)
            )
    return listed


def _external() -> list[Reaction]:
    from ase.data import g2

    from sfm_dft.data.thermochemistry import g2_energy

    taken = {reaction.subject for reaction in _test()}
    listed = []
    for name in g2.molecule_names:
        if name in taken:
            continue
        energy = g2_energy(name, species(name).symbols)
        listed.append(Reaction(name, "atomisation", "external", _into_atoms(name), energy))
    for atom, energy in SECOND.items():
        change = {f"{atom}+1": -1, f"{atom}+2": 1}
        listed.append(Reaction(f"{atom}+", "ionisation", "external", change, energy * EV))
    return listed


def _into_atoms(name: str) -> dict[str, int]:
    """The molecule's coefficient first."""
    change = {name: -1}
    for atom in species(name).symbols:
        change[atom] = change.get(atom, 0) + 1
    return change
