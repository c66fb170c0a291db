"""Stored numbers without bits that mean nothing: files are smaller, units stay what they are.

An engine that converges its forces to 1e-4 eV/angstrom says nothing in the last ten bits of a
float32, and noise does not compress. Two rules: numbers of one scale, whose noise is absolute
(labels of atoms), go to whole multiples of a step, half a step off at most; numbers of many scales
(flows, fields) keep so many bits of the mantissa, a relative error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.data.storage import Column


def to_step(values: Any, step: float) -> Float[np.ndarray, "*shape"]:
    """float64 of any shape: whole multiples of `step`, nearest to `values`, in their unit.

    Args:
        values: numbers or an array of them.
        step: a power of two, so that multiples are exact in binary and rounding again changes
            nothing.

    Raises:
        ValueError: `step` is not a positive power of two.
    """
    if step <= 0 or math.frexp(step)[0] != 0.5:
        raise ValueError(f"a step is a positive power of two, not {step}")
    multiples = np.round(np.asarray(values, dtype=np.float64) / step)
    return np.asarray(multiples * step + 0.0)  # no negative zeros


def rounded(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], steps: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """Rows for `write_dataset`, the columns of some quantities rounded to a step each.

    What is rounded is the number that the column's type would hold, so that a builder gives what
    rounding its earlier files gives. Missing labels stay missing.

    Args:
        rows: dictionaries by column name.
        columns: the columns of the dataset.
        steps: powers of two by quantity, in the unit of the quantity's columns.

    Raises:
        ValueError: no column is of one of these quantities, or a step is not a power of two.
    """
    unknown = set(steps) - {column.quantity for column in columns}
    if unknown:
        raise ValueError(f"no column is of {sorted(unknown)}")
    step_of = {c.name: (steps[c.quantity], c.dtype) for c in columns if c.quantity in steps}
    for row in rows:
        coarse = dict(row)
        for name, (step, dtype) in step_of.items():
            if row.get(name) is not None:
                coarse[name] = to_step(np.asarray(row[name], dtype=dtype), step)
        yield coarse


def round_mantissa(values: Float[np.ndarray, "*shape"], bits: int) -> Float[np.ndarray, "*shape"]:
    """float32 of any shape, rounded to `bits` mantissa bits: packs smaller.

    The relative error is below 2^-(bits+1).
    """
    drop = 23 - bits
    raw = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1) + ((raw >> np.uint32(drop)) & np.uint32(1))
    return ((raw + half) & np.uint32(0xFFFFFFFF ^ ((1 << drop) - 1))).view(np.float32)
