"""Units that files of our own state beside their arrays, and those that arrays have here."""

from __future__ import annotations

import warnings
from pathlib import Path

from sfm.errors import InputWarning
from sfm.units import factor


def unit_of(group: str, name: str, domain: str) -> str | None:
    """Unit in which samples of `domain` hold an array; None where nothing states it.

    Args:
        group: `atoms`, `conditions`, `labels`, `fields` or `extras`.
        name: of the array in the group.
        domain: of the samples.
    """
    from sfm.registry import length_unit, quantities

    if group != "atoms":
        table, base = quantities(), name.partition("@")[0]
        return table[base].unit if base in table and group != "extras" else None
    length = length_unit(domain)
    units = {"masses": "amu", "velocities": f"{length}/fs"}
    return length if name in ("positions", "cell", "rigid_lengths") else units.get(name)


def scale_from(path: Path, name: str, unit: str, here: str | None) -> float:
    """The factor from the unit that a file states to the one `here`; 1, and a warning, of None.

    Raises:
        InputError: one cannot be converted to the other.
    """
    if here is None:
        text = f"{path}: '{name}' is in {unit}, as no installed plugin has it"
        warnings.warn(f"{text}; its numbers stay as they are", InputWarning, stacklevel=3)
        return 1.0
    return factor(unit, here)
