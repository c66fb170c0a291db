"""Atoms, atomic ions and molecules of the thermochemical reactions, by name.

Names are `C` (atom), `C+1`, `C+2` (ions), and those of ase's G2/97 collection for molecules.
G2 geometries: MP2(full)/6-31G(d), Curtiss et al., J. Chem. Phys. 106, 1063 (1997).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfm.errors import InputError, did_you_mean

ATOMS = [
    "H",
    "He",
    "Li",
    "Be",
    "B",
    "C",
    "N",
    "O",
    "F",
    "Ne",
    "Na",
    "Mg",
    "Al",
    "Si",
    "P",
    "S",
    "Cl",
    "Ar",
]
UNPAIRED = (0, 1, 0, 1, 0, 1, 2, 3, 2, 1, 0, 1, 0, 1, 2, 3, 2, 1, 0)
"""Unpaired electrons of the ground state, by the number of electrons; up to argon the cations of
an isoelectronic row have the atom's configuration."""

_ION = re.compile(r"([A-Z][a-z]?)(?:\+(\d))?")


@dataclass(frozen=True)
class Species:
    """One atom, ion or molecule. positions: (A, 3) angstrom; spin: unpaired electrons."""

    name: str
    symbols: tuple[str, ...]
    positions: np.ndarray
    charge: int = 0
    spin: int = 0


def species(name: str) -> Species:
    """The species of this name.

    Raises:
        InputError: there is none.
    """
    ion = _ION.fullmatch(name)
    if ion and ion[1] in ATOMS:
        charge = int(ion[2] or 0)
        electrons = ATOMS.index(ion[1]) + 1 - charge
        if electrons < 0:
            raise InputError(f"{name}: {ion[1]} has no {charge} electrons to lose")
        return Species(name, (ion[1],), np.zeros((1, 3)), charge, UNPAIRED[electrons])
    from ase.data.g2 import data
    from ase.symbols import string2symbols

    if name not in data:
        raise InputError(f"no species {name!r} in G2/97.{did_you_mean(name, data)}")
    entry: dict[str, Any] = data[name]  # type: ignore[assignment]
    moments = entry["magmoms"]
    return Species(
        name,
        tuple(string2symbols(entry["symbols"])),
        np.asarray(entry["positions"], dtype=float),
        spin=0 if moments is None else round(abs(sum(moments))),
    )
