"""What a row of a table or a record of an SDF file states besides the molecule.

A number under `quantity[unit]` is a label of a quantity that a plugin declares, one under another
name an extra, of which fine-tuning can make a quantity of the user's own; a charge and a spin are
conditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sfm.data.conditions import meaning, read_conditions
from sfm.data.headers import joined_header, split_header
from sfm.data.sample import Sample
from sfm.data.stated import stated_numbers
from sfm.errors import InputError

UNKNOWN_LEVEL = "unknown"


def label_of(header: str) -> tuple[str, float] | None:
    """Quantity, and factor to its canonical unit; None if no plugin declares one of this name.

    Raises:
        InputError: a unit of something else.
    """
    from sfm.registry import quantities
    from sfm.units import factor

    name, unit = split_header(header)
    if unit is None or name not in (table := quantities()):
        return None
    return name, factor(unit, table[name].unit)


def with_cells(sample: Sample, cells: Mapping[str, Any]) -> Sample:
    """The sample with labels, extras and conditions of the cells under their headers.

    An empty cell states nothing.

    Raises:
        InputError: a label that is no number, or a charge that is not the molecule's.
    """
    labels, conditions = dict(sample.labels), dict(sample.conditions)
    charged: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for header, cell in cells.items():
        if not str(cell if cell is not None else "").strip():
            continue
        value = _number(cell)
        if label := label_of(header):
            if value is None:
                raise InputError(f"column '{header}': '{cell}' is not a number")
            labels[label[0]] = np.asarray(value * label[1])
        elif meaning(header) in ("charge", "spin"):
            charged[header] = cell
        else:
            others[joined_header(*split_header(header))] = cell if value is None else value
    if charged:
        said = read_conditions(charged, sample.types, sample.id)
        charge = conditions.get("charge", 0.0)
        if said.get("charge", charge) != charge:
            raise InputError(
                f"'{sample.id}' has charge {charge:+g}, its file says {said['charge']:+g}"
            )
        conditions |= said
    level = UNKNOWN_LEVEL if labels else sample.level
    return sample.replace(
        labels=labels,
        extras={**sample.extras, **stated_numbers(others)},
        conditions=conditions,
        level=level,
    )


def _number(cell: Any) -> float | None:
    """The finite number that a cell holds, if it is one."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None
