"""Single numbers and texts of files, whatever they are wrapped in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sfm.errors import InputError


def number(value: Any, name: str, where: str) -> float:
    """One finite number.

    Raises:
        InputError: several, none, a text, or not finite; the name and the value are given.
    """
    array = np.asarray(value)
    if array.size != 1:
        raise InputError(f"{where}: {name} holds {array.size} values, not one number")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}: {name}={text(value)!r} is not a number")
    single = float(array.reshape(()))
    if not math.isfinite(single):
        raise InputError(f"{where}: {name}={single} is not a finite number")
    return single


def standard_error(arrays: Mapping[str, Any], quantity: str, path: Path) -> dict[str, float]:
    """`sigma` of a file of observations as that of `quantity`; {} if it has none.

    Raises:
        InputError: it is not one positive number.
    """
    if "sigma" not in arrays:
        return {}
    sigma = number(arrays["sigma"], "sigma", str(path))
    if sigma <= 0:
        raise InputError(f"{path}: sigma={sigma} is not positive")
    return {quantity: sigma}


def text(value: Any) -> str:
    """A text, of bytes or of an array of one; of anything else how it prints, cut short."""
    array = np.asarray(value)
    item = array.reshape(-1)[0] if array.size == 1 else value
    item = item.item() if isinstance(item, np.generic) else item
    printed = item.decode(errors="replace") if isinstance(item, bytes) else str(item)
    return printed if len(printed) < 200 else f"{printed[:200]}..."


def texts(value: Any) -> list[str]:
    """A list of texts, of an array of texts or bytes, or of one of them."""
    if isinstance(value, (str, bytes)):
        return [text(value)]
    return [text(item) for item in np.asarray(value).reshape(-1)]
