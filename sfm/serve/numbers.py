"""Arrays for the page: JSON lists where they are small, else base64 of float32 in C order."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.data.elements import SYMBOLS
from sfm.quantity import Quantity
from sfm.simulate.volume import Volume

LISTED = 10_000  # numbers of an array that still goes as a list
PICTURE = 128  # points along an axis of a picture
SOLID = 40  # points along an axis of a volume
BOX = 10.0  # angstrom, longest side at which a field without atoms is drawn


def plain(value: Any) -> dict[str, Any]:
    """`{"shape", "value"}` or `{"shape", "f32"}`; what is not finite becomes null or NaN."""
    array = as_array(value)
    if array.size <= LISTED:
        return {"shape": list(array.shape), "value": listed(array)}
    return {"shape": list(array.shape), "f32": _packed(array)}


def as_array(value: Any) -> Shaped[np.ndarray, " ..."]:
    """numpy, from a tensor or whatever numpy takes; of the same shape and unit."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def listed(array: Shaped[np.ndarray, " ..."]) -> Any:
    """Nested lists of an array of any shape and unit, null for what is not finite."""
    values = array.tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _finite(values)
    return values


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value if math.isfinite(value) else None


def picture(value: Any, quantity: Quantity | None = None) -> dict[str, Any] | None:
    """A field as a line or an image of at most 128 points a side, with what is shown of it.

    Of a vector the magnitude, of three dimensions the middle plane, of a longer axis every n-th
    point. None where it is no field.
    """
    array = as_array(value).astype(np.float32)
    shown: list[str] = []
    while array.ndim > 1 and len(array) == 1:  # a batch of one
        array = array[0]
    vector = quantity is not None and quantity.irreps in ("1o", "1e")
    if vector and array.ndim >= 2 and array.shape[0] in (2, 3):
        array = np.sqrt((array**2).sum(0))
        shown.append("magnitude")
    while array.ndim > 3 or (array.ndim == 3 and array.shape[0] <= 3):
        shown.append(f"component 1 of {array.shape[0]}")
        array = array[0]
    if array.ndim == 3:
        shown.append("middle plane")
        array = array[array.shape[0] // 2]
    if array.ndim == 0 or 1 in array.shape:
        return None
    steps = [max(1, math.ceil(n / PICTURE)) for n in array.shape]
    if max(steps) > 1:
        shown.append(f"every {max(steps)}th point")
    small = array[tuple(slice(None, None, s) for s in steps)]
    return {"shape": list(small.shape), "f32": _packed(small), "shown": ", ".join(shown)}


def volume(value: Volume) -> dict[str, Any]:
    """A volume of at most 40 points a side, with its box and atoms in angstrom."""
    thin = [math.ceil(n / SOLID) for n in value.values.shape]
    small = value.values[tuple(slice(None, None, k) for k in thin)]
    return {
        "shape": list(small.shape),
        "f32": _packed(small),
        "unit": value.unit,
        "origin": value.origin.tolist(),
        "steps": (value.steps * np.array(thin)).tolist(),
        "surface": value.surface,
        "symbols": [SYMBOLS[z] for z in value.types],
        "positions": value.positions.tolist(),
    }


def solid(value: Any, quantity: Quantity) -> Volume | None:
    """A field in three dimensions as a volume: of a vector the magnitude; None of any other."""
    array = as_array(value).astype(np.float64)
    while array.ndim > 3 and len(array) == 1:  # a batch of one
        array = array[0]
    if quantity.irreps in ("1o", "1e") and array.ndim == 4 and array.shape[0] == 3:
        array = np.sqrt((array**2).sum(0))
    if array.ndim != 3 or min(array.shape) < 4:
        return None
    steps = np.full(3, BOX / max(array.shape))
    largest = float(np.abs(array).max())
    return Volume(array, quantity.unit, np.zeros(3), steps, 0.5 * largest)


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f4").tobytes()).decode("ascii")
