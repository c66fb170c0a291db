"""Isotopes that symbols state: `D`, `T`, `2H`, `13C`."""

from __future__ import annotations

import re

from sfm.data.elements import NUMBERS
from sfm.errors import InputError

HYDROGENS = {"d": 2.01410177812, "t": 3.01604928199}  # amu, AME2020
# behind the symbol a number is a label, as in C13, the thirteenth carbon
_NUMBERED = re.compile(r"(\d{1,3})([A-Za-z]{1,2})")


def isotope(symbol: str) -> tuple[str, float] | None:
    """Element and mass in amu; None if the symbol states no isotope.

    >>> isotope("D"), isotope("C")
    (('H', 2.01410177812), None)

    Raises:
        InputError: no such isotope is known, or nothing here knows its mass.
    """
    if mass := HYDROGENS.get(symbol.lower()):
        return "H", mass
    match = _NUMBERED.fullmatch(symbol)
    element = match[2].capitalize() if match else ""
    if match is None or not NUMBERS.get(element):
        return None
    number = int(match[1])
    if element == "H" and number in (2, 3):
        return "H", HYDROGENS["dt"[number - 2]]
    try:
        from rdkit.Chem import GetPeriodicTable
    except ModuleNotFoundError:
        raise InputError(
            f"isotope '{symbol}': rdkit knows its mass (pip install 'sfm-hub[molecules]'); or "
            "state it in a column `masses`"
        ) from None
    mass = GetPeriodicTable().GetMassForIsotope(element, number)
    if not mass > 0:
        raise InputError(f"'{symbol}' is no isotope of {element} that is known")
    return element, float(mass)
