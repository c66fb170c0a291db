"""Which unit explains a factor between labels and what they should be."""

from __future__ import annotations

import math
from functools import cache

from sfm.errors import InputError

UNITS = (
    *("eV", "meV", "hartree", "rydberg", "kcal/mol", "kJ/mol"),
    *("eV/angstrom", "meV/angstrom", "hartree/bohr", "rydberg/bohr", "hartree/angstrom"),
    *("eV/bohr", "kcal/mol/angstrom", "kJ/mol/angstrom", "kJ/mol/nm", "newton"),
    *("eV/angstrom**3", "GPa", "kbar", "MPa", "hartree/bohr**3"),
    *("rydberg/bohr**3", "kcal/mol/angstrom**3", "e*angstrom", "e*bohr", "debye"),
    *("angstrom**3", "bohr**3", "angstrom", "bohr", "nm"),
)


@cache
def candidates(unit: str) -> dict[str, float]:
    """Units of the same dimension by name, with the factor to `unit` (`GPa` to eV/angstrom^3:
    0.0062)."""
    from sfm.units import factor

    scales: dict[str, float] = {}
    for other in UNITS:
        try:
            scale = factor(other, unit)
        except InputError:
            continue
        if abs(math.log(scale)) > 1e-6:
            scales[other] = scale
    return scales


def explained_by(ratio: float, unit: str, tolerance: float) -> str | None:
    """The unit in which labels stand that are `ratio` times what they should be in `unit`.

    Args:
        ratio: label over expectation, positive.
        unit: of the expectation.
        tolerance: largest difference of the logarithms.

    >>> explained_by(23.1, "eV", 0.1), explained_by(0.0366, "eV", 0.1), explained_by(2.0, "eV", 0.1)
    ('kcal/mol', 'hartree', None)
    """
    if not (ratio > 0 and math.isfinite(ratio)):
        return None
    distance = {other: abs(math.log(ratio * scale)) for other, scale in candidates(unit).items()}
    best = min(distance, key=distance.__getitem__, default=None)
    return best if best is not None and distance[best] < tolerance else None


def as_if(name: str, other: str, unit: str, *, negative: bool = False) -> str:
    """`as if in GPa instead of eV/angstrom**3 (--unit stress=GPa)`."""
    return f"as if in {other} instead of {unit} (--unit {name}={'-' if negative else ''}{other})"
