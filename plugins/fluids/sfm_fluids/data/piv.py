"""Measured velocities (particle image velocimetry) from the wheel of `pivpy` 0.4.0.

Five fields of a flowing soap film (TSI Insight, m/s) and three of a 12 m/s air jet 15 cm wide (lab
FAST, F. Moisy's PIVMat; LaVision DaVis 7). Each is cut into pieces of 60 x 60 vectors. A fifth of a
piece's good vectors is withheld from the input, to be predicted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from sfm.data.rounding import round_mantissa
from sfm.data.sources import fetch, read_member
from sfm.data.storage import Column
from sfm_fluids.data.columns import ROW
from sfm_fluids.files.piv import Field, read_vc7, read_vec

WHEEL = ("pivpy", "0.4.0", "0de26a373d06a163")
SIZE = 60
WITHHELD = 0.2
BITS = 11  # relative error below 2.5e-4; the measurement's is above 1e-2
SOAP_FILM, JET = 0.05, 5.0  # m/s, velocity scales

COLUMNS = (
    *ROW,
    Column("velocity", role="field", shape=(2, SIZE, SIZE)),
    Column("given", role="field", shape=(SIZE, SIZE), dtype="bool"),
    Column("valid", role="field", shape=(SIZE, SIZE), dtype="bool"),
    Column("length_scale", "m", role="condition"),
    Column("velocity_scale", "m/s", role="condition"),
    Column("velocity", role="label", level="PIV", shape=(2, SIZE, SIZE)),
)


def filled(
    values: Float[np.ndarray, "*B H W"], known: Bool[np.ndarray, "H W"]
) -> Float[np.ndarray, "*B H W"]:
    """(..., H, W) whose unknown points solve Laplace's equation: each is its neighbours' mean.

    The gradient normal to the edge of the field is zero where the edge is unknown.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.linalg import splu

    height, width = known.shape
    number = np.arange(height * width).reshape(height, width)
    pairs = [(number[:-1], number[1:]), (number[:, :-1], number[:, 1:])]
    left = np.concatenate([a.ravel() for a, b in pairs] + [b.ravel() for a, b in pairs])
    right = np.concatenate([b.ravel() for a, b in pairs] + [a.ravel() for a, b in pairs])
    free = ~known.ravel()
    rows = free[left]
    left, right = left[rows], right[rows]
    size = height * width
    neighbours = np.bincount(left, minlength=size)
    diagonal = np.where(free, neighbours, 1.0)
    at = np.concatenate([np.arange(size), left])
    to = np.concatenate([np.arange(size), right])
    entries = np.concatenate([diagonal, -np.ones(len(left))])
    solve = splu(coo_array((entries, (at, to)), shape=(size, size)).tocsc()).solve
    flat = np.where(free, 0.0, values.reshape(-1, size))
    return np.stack([solve(row) for row in flat]).reshape(values.shape)


def withheld(valid: Bool[np.ndarray, "H W"], name: str) -> Bool[np.ndarray, "H W"]:
    """(H, W) bool: a random fifth of the valid vectors, drawn from the piece's name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return valid & (np.random.default_rng(seed).random(valid.shape) < WITHHELD)


def fields() -> Iterator[tuple[str, Field, float]]:
    """(name, field, velocity scale) of every file that is used."""
    wheel = fetch(*WHEEL)
    for number in range(1, 6):
        member = f"pivpy/data/Insight/Run00000{number}.T000.D000.P000.H001.L.vec"
        yield f"soap-film-{number}", read_vec(read_member(wheel, member), member), SOAP_FILM
    for number in range(1, 4):
        member = f"pivpy/data/PIVMAT_jet/B0000{number}.VC7"
        yield f"jet-{number}", read_vc7(read_member(wheel, member), member), JET


def rows() -> Iterator[dict[str, Any]]:
    """One row per piece; all are for testing."""
    for name, field, scale in fields():
        height, width = field.valid.shape
        down, across = height // SIZE, width // SIZE
        top, left = (height - down * SIZE) // 2, (width - across * SIZE) // 2
        for i in range(down):
            for j in range(across):
                down_to = slice(top + i * SIZE, top + (i + 1) * SIZE)
                across_to = slice(left + j * SIZE, left + (j + 1) * SIZE)
                valid = field.valid[down_to, across_to]
                measured = field.velocity[:, down_to, across_to] / scale
                piece = f"{name}-{i}{j}" if down * across > 1 else name
                given = valid & ~withheld(valid, piece)
                yield {
                    "id": piece,
                    "split": "test",
                    "group": name,
                    "cell": np.diag([2 * math.pi, 2 * math.pi, 1.0]),
                    "pbc": np.zeros(3, dtype=bool),
                    "velocity": round_mantissa(filled(measured, given), BITS),
                    "given": given,
                    "valid": valid,
                    "length_scale": SIZE * field.spacing / (2 * math.pi),
                    "velocity_scale": scale,
                    "velocity@": round_mantissa(measured, BITS),
                }
