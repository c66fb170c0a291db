"""Numbers that a file or an object states under names of its own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Num

from sfm.data.conditions import meaning
from sfm.errors import InputWarning

# text that names or describes a frame, and says nothing of its physics
_DESCRIBING = (
    "author", "comment", "config_type", "date", "formula", "inchi", "label", "name", "note",
    "program", "smiles", "source", "title", "unique_id", "uid",
)  # fmt: skip


def stated_numbers(stated: Mapping[str, Any]) -> dict[str, Num[np.ndarray, " ..."]]:
    """Arrays of any shape by name, in whatever unit they were stated: a sample's extras.

    Text that states something (`solvent=water`) has no place in a sample: it is warned of. What
    states a condition (`charge`) is read elsewhere.
    """
    words = [str(key) for key, value in stated.items() if isinstance(value, str)]
    text = [key for key in words if meaning(key) is None and key.lower() not in _DESCRIBING]
    if text:
        line = f"stated, but not used: {', '.join(text)}"
        warnings.warn(line, InputWarning, stacklevel=3)
    arrays = {}
    for key, value in stated.items():
        if meaning(str(key)) is not None or isinstance(value, (bool, dict, str)):
            continue
        try:
            array = np.asarray(value)
        except ValueError:  # rows of several lengths
            continue
        if array.dtype.kind in "fiu":
            arrays[str(key)] = array
    return arrays
