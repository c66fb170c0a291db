"""Units of measurement, with pint behind them.

Energies per mole (`kcal/mol`, `kJ/mol`) are read as energies per particle, as chemists mean them.
pint is imported at the first conversion, so importing this module costs nothing.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, TypeVar

from sfm.errors import InputError

T = TypeVar("T")

DIMENSIONLESS = "1"
_ALLOWED = re.compile(r"[\w\s*/^().+\-°]+")

# known without asking pint, whose import takes a third of a second
COMMON = frozenset({
    DIMENSIONLESS, "angstrom", "bohr", "eV", "eV/angstrom", "eV/angstrom**3", "e", "e*angstrom",
    "kelvin", "fs", "amu", "GPa", "bohr**3", "angstrom**3",
})  # fmt: skip


@cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(cache_folder=None)
    registry.define("e = elementary_charge")
    return registry


@cache
def _quantity(unit: str) -> Any:
    import pint

    registry = _registry()
    try:
        if not _ALLOWED.fullmatch(unit):
            raise ValueError(unit)
        if unit == DIMENSIONLESS:
            return 1.0 * registry.dimensionless
        value = 1.0 * registry.parse_expression(unit)
        return value / registry.avogadro_constant if "/mol" in unit else value
    except (
        pint.errors.PintError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        TypeError,
        ValueError,
        SyntaxError,
    ):
        raise InputError(
            f"unit '{unit}' is not known; write it as in 'eV/angstrom', 'hartree', 'kcal/mol', '1'"
        ) from None


@cache
def factor(unit: str, to: str) -> float:
    """The number that turns a value in `unit` into a value in `to`.

    Raises:
        InputError: an unknown unit, or two units of different dimension.

    >>> round(factor("hartree", "eV"), 6)
    27.211386
    """
    if unit == to:
        return 1.0
    source, target = _quantity(unit), _quantity(to)
    import pint

    try:
        return float((source / target).to("dimensionless").magnitude)
    except pint.errors.PintError:
        raise InputError(
            f"unit '{unit}' [{source.dimensionality}] cannot be converted to '{to}' "
            f"[{target.dimensionality}]: they measure different things"
        ) from None


def convert(value: T, unit: str, to: str) -> T:
    """`value` (number, array or tensor) in `unit`, expressed in `to`. Same unit: same object."""
    scale = factor(unit, to)
    return value if scale == 1.0 else value * scale  # type: ignore[operator,return-value]


def check_unit(unit: str) -> str:
    """`unit` if it is known.

    Raises:
        InputError: it is not.
    """
    if unit not in COMMON:
        _quantity(unit)
    return unit
