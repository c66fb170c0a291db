"""Crystals of the Materials Project, as the archive of matminer 0.4.1 holds them.

`matminer/datasets/flla_2015.csv`: 3,938 relaxed structures with their formation energy per atom
(PBE, with +U where the Materials Project applies it), collected by Faber, Lindmaa, von Lilienfeld
and Armiento, Int. J. Quantum Chem. 115, 1094 (2015), doi:10.1002/qua.24917.
"""

from __future__ import annotations

import ast
import csv
import io
import itertools
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from sfm.errors import InputError

PACKAGE, VERSION, SHA256 = "matminer", "0.4.1", "26d7e6c023e19bbd7ba5e87b9d4d299c"
MEMBER = "matminer/datasets/flla_2015.csv"
ELASTIC_MEMBER = "matminer/datasets/elastic_tensor.csv"
DIELECTRIC_MEMBER = "matminer/datasets/dielectric_constant.csv"
PIEZOELECTRIC_MEMBER = "matminer/datasets/piezoelectric_tensor.csv"
COMPUTED_MEMBERS = (ELASTIC_MEMBER, DIELECTRIC_MEMBER, PIEZOELECTRIC_MEMBER)


@dataclass(frozen=True, eq=False)
class Entry:
    """One relaxed crystal, without what was computed for it.

    Attributes:
        id: Materials Project identifier, `mp-10`.
        formula: reduced formula, elements in alphabetical order.
        types: (n,) atomic numbers.
        positions: (n, 3) angstrom.
        cell: (3, 3) angstrom, rows are lattice vectors.
    """

    id: str
    formula: str
    types: np.ndarray
    positions: np.ndarray
    cell: np.ndarray


@dataclass(frozen=True, eq=False)
class Crystal(Entry):
    """One relaxed crystal with its formation energy, eV per atom."""

    formation_energy: float


def reduced_formula(types: Int[np.ndarray, " N"]) -> str:
    """Formula divided by its greatest common divisor, elements in alphabetical order.

    types: (N,) atomic numbers, without unit.

    >>> reduced_formula(np.array([8, 8, 8, 13, 13, 8, 8, 8, 13, 13]))
    'Al2O3'
    """
    from ase.data import chemical_symbols

    counts = Counter(chemical_symbols[int(z)] for z in types)
    divisor = math.gcd(*counts.values())
    return "".join(
        f"{symbol}{counts[symbol] // divisor if counts[symbol] > divisor else ''}"
        for symbol in sorted(counts)
    )


def read_formulas(content: bytes) -> set[str]:
    """Reduced formulas of a table of matminer with a column `formula`, as `reduced_formula`'s.

    Raises:
        InputError: the content has no such column.
    """
    from ase.data import atomic_numbers
    from ase.formula import Formula

    formulas = set()
    for row in table_rows(content, "formula"):
        counts = Formula(row["formula"]).count()
        formulas.add(
            reduced_formula(np.repeat([atomic_numbers[s] for s in counts], [*counts.values()]))
        )
    return formulas


def read_crystals(content: bytes) -> list[Crystal]:
    """All crystals of `flla_2015.csv`, in the file's order.

    Raises:
        InputError: the content is not that file.
    """
    return [_crystal(row) for row in table_rows(content, "structure")]


def table_rows(content: bytes, column: str) -> list[dict[str, str]]:
    """Rows of a table of matminer that has a certain column, by column.

    Raises:
        InputError: it has no such column.
    """
    csv.field_size_limit(10_000_000)
    every = content.decode().splitlines(keepends=True)  # a cell may hold a file of many lines
    lines = itertools.dropwhile(lambda line: line.startswith("#"), every)
    header, *rows = list(csv.reader(lines)) or [[]]
    if not rows or column not in header:
        raise InputError(f"no column {column!r}; this is not a table of {PACKAGE} {VERSION}")
    # some tables carry one more index in front than their header names
    return [dict(zip(header, row[len(row) - len(header) :], strict=True)) for row in rows]


def read_entry(row: dict[str, str]) -> Entry:
    """The crystal of a row with the columns `material_id` and `poscar`."""
    from ase import Atoms
    from ase.io import read

    atoms = read(io.StringIO(row["poscar"]), format="vasp")
    assert isinstance(atoms, Atoms)  # one structure in a POSCAR
    types = atoms.get_atomic_numbers()
    cell = np.array(atoms.cell.array)
    formula = reduced_formula(types)
    return Entry(row["material_id"], formula, types, atoms.get_positions(), cell)


def _crystal(row: dict[str, str]) -> Crystal:
    from ase.data import atomic_numbers

    structure = ast.literal_eval(row["structure"])
    cell = np.array(structure["lattice"]["matrix"], dtype=np.float64)
    sites = structure["sites"]
    for site in sites:
        if len(site["species"]) != 1 or site["species"][0]["occu"] != 1:
            raise InputError(f"{MEMBER}: {row['material_id']} has a partly occupied site")
    types = np.array([atomic_numbers[s["species"][0]["element"]] for s in sites])
    fractional = np.array([site["abc"] for site in sites], dtype=np.float64)
    return Crystal(
        id=row["material_id"],
        formula=reduced_formula(types),
        types=types,
        positions=fractional @ cell,
        cell=cell,
        formation_energy=float(row["formation_energy_per_atom"]),
    )
