"""Gaussian's input files through ASE, with what its reader drops: conditions, isotopes, units.

Format: https://gaussian.com/molspec and https://gaussian.com/units
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfm.data.conditions import BOHR_RADIUS
from sfm.data.frames import read_frames
from sfm.data.isotopes import isotope
from sfm.data.rows import row
from sfm.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms


def read_gaussian(path: Path) -> Iterator[tuple[str, Atoms]]:
    """(`file, frame 1`, atoms) with charge and multiplicity in `info`, in angstrom.

    Raises:
        RowError: damaged, an isotope that is none, or internal coordinates in radians.
    """
    for where, atoms in read_frames(path, format="gaussian-in", attach_calculator=True):
        route = atoms.calc.parameters
        atoms.calc = None
        atoms.info |= {k: route[k] for k in ("charge", "mult") if k in route}
        good = False
        with row(where):
            _units(atoms, route.get("units"))
            _isotopes(atoms, route.get("isolist"))
            good = True
        if good:
            yield where, atoms


def _units(atoms: Atoms, stated: Any) -> None:
    words = set(re.findall(r"[a-z]+", str(stated or "").lower()))
    if words & {"rad", "radian", "radians"}:
        raise InputError("units=rad: write angles in degrees, or Cartesian coordinates")
    if words & {"au", "bohr"}:
        atoms.positions *= BOHR_RADIUS


def _isotopes(atoms: Atoms, numbers: Any) -> None:
    if not numbers or not any(numbers):
        return
    masses = atoms.get_masses()
    for index, (symbol, number) in enumerate(zip(atoms.symbols, numbers, strict=False)):
        if number and (nuclide := isotope(f"{round(float(number))}{symbol}")):
            masses[index] = nuclide[1]
    atoms.set_masses(masses)
