"""A reader for the columns of a BinaryCIF file (the format of the chemical component dictionary).

The format and its encodings: D. Sehnal et al., "BinaryCIF and CIFTools", PLoS Comput. Biol. 16,
e1008247 (2020). Only what a reader needs is here; `msgpack` unpacks the container.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.errors import InputError

_TYPES = {1: "i1", 2: "<i2", 3: "<i4", 4: "u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}


def read_columns(
    content: bytes, names: dict[str, Sequence[str]]
) -> dict[str, dict[str, Shaped[np.ndarray, " _"]]]:
    """The columns named by `names` ({category: columns}) of the file's first data block.

    Each (rows,) or (n,), text or numbers in the unit that the dictionary of the file says.

    Raises:
        InputError: a category or column is not in the file, or an encoding is unknown.
    """
    import msgpack

    block = msgpack.unpackb(content, raw=False)["dataBlocks"][0]
    categories = {category["name"]: category["columns"] for category in block["categories"]}
    tables: dict[str, dict[str, np.ndarray]] = {}
    for name, columns in names.items():
        table = {column["name"]: column["data"] for column in categories.get(name, ())}
        missing = [column for column in columns if column not in table]
        if missing:
            raise InputError(f"BinaryCIF: no column {missing} in category '{name}'")
        tables[name] = {column: _decode(**table[column]) for column in columns}
    return tables


def _decode(data: bytes, encoding: Sequence[dict[str, Any]]) -> np.ndarray:
    value: Any = data
    for step in reversed(encoding):
        kind = step["kind"]
        if kind not in _STEPS:
            raise InputError(f"BinaryCIF: unknown encoding '{kind}'")
        value = _STEPS[kind](value, step)
    values: np.ndarray = value
    return values


def _byte_array(data: bytes, step: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(data, dtype=_TYPES[step["type"]])


def _fixed_point(data: np.ndarray, step: dict[str, Any]) -> np.ndarray:
    values: np.ndarray = data.astype(_TYPES[step["srcType"]]) / step["factor"]
    return values


def _run_length(data: np.ndarray, step: dict[str, Any]) -> np.ndarray:
    pairs = data.reshape(-1, 2)
    return np.repeat(pairs[:, 0], pairs[:, 1])


def _delta(data: np.ndarray, step: dict[str, Any]) -> np.ndarray:
    values: np.ndarray = step["origin"] + np.cumsum(data, dtype=np.int64)
    return values


def _integer_packing(data: np.ndarray, step: dict[str, Any]) -> np.ndarray:
    """Sum each run of saturated small integers with the first unsaturated one after it."""
    limits = np.iinfo(data.dtype)
    saturated = data == limits.max
    if not step["isUnsigned"]:
        saturated = saturated | (data == limits.min)
    ends = np.flatnonzero(~saturated)
    total = np.cumsum(data, dtype=np.int64)[ends]
    return np.diff(total, prepend=0)


def _string_array(data: bytes, step: dict[str, Any]) -> np.ndarray:
    offsets = _decode(step["offsets"], step["offsetEncoding"])
    text = step["stringData"]
    words = np.array([text[a:b] for a, b in pairwise(offsets)])
    strings: np.ndarray = words[_decode(data, step["dataEncoding"])]
    return strings


_STEPS: dict[str, Callable[[Any, dict[str, Any]], np.ndarray]] = {
    "ByteArray": _byte_array,
    "FixedPoint": _fixed_point,
    "RunLength": _run_length,
    "Delta": _delta,
    "IntegerPacking": _integer_packing,
    "StringArray": _string_array,
}
