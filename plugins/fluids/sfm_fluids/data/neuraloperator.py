"""Darcy flow and Burgers' equation from the wheel of `neuraloperator` 0.3.0.

The files in the wheel say nothing of units, coefficients or times. What is said here was found
from the numbers themselves, and the tests hold it:

- Darcy: -div(a grad p) = 1 on the unit square, p = 0 on its edge. In regions of one coefficient
  the Laplacian of p is -2.78 where the file's mask is 1 and -50.1 where it is 0 (medians), so
  a = 0.36 and a = 0.02.
- Burgers: u_t + u u_x = 0.01 u_xx, periodic on [0, 1), 17 times 1/16 apart. The viscosity is in
  the file; length and times are those with which `fluids/burgers` gives its numbers.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Shaped

from sfm.data.rounding import round_mantissa
from sfm.data.sources import fetch, read_member
from sfm.data.splits import assign
from sfm.data.storage import Column
from sfm_fluids.data.columns import ROW

WHEEL = ("neuraloperator", "0.3.0", "483b358f2d9823c2")
FOLDER = "neuralop/datasets/data"
PERMEABLE, TIGHT = 0.36, 0.02
BURGERS_INTERVAL = 1 / 16
BITS = 15


def darcy_columns(points: int) -> tuple[Column, ...]:
    """Coefficient in, pressure out, both (points, points)."""
    grid = (points, points)
    return (
        *ROW,
        Column("permeability", role="field", shape=grid),
        Column("pore_pressure", role="label", level="finite-difference", shape=grid),
    )


BURGERS_COLUMNS = (
    *ROW,
    Column("velocity", role="field", shape=(16,)),
    Column("viscosity", role="condition"),
    Column("interval", role="condition"),
    Column("velocity", role="label", level="simulation", shape=(16, 16)),
)


def load(name: str) -> dict[str, Shaped[np.ndarray, "n ..."]]:
    """Tensors of one file of the wheel as arrays (n, ...), n samples; no code in it is run.

    Raises:
        InputError: the package cannot be fetched, or it is another one.
    """
    import torch

    raw = read_member(fetch(*WHEEL), f"{FOLDER}/{name}.pt")
    tensors = torch.load(io.BytesIO(raw), weights_only=True)
    return {key: value.numpy() for key, value in tensors.items()}


def darcy_rows(files: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """One row per coefficient. `darcy_test_*` is the test split, a hash splits the others."""
    for name in files:
        data = load(name)
        _, part, _ = name.split("_")
        for number, (mask, pressure) in enumerate(zip(data["x"], data["y"], strict=True)):
            group = f"{part}-{number:04d}"
            yield {
                "id": group,
                "split": "test" if part == "test" else assign(group, (0.9, 0.1, 0.0)),
                "group": group,
                "cell": np.eye(3),
                "pbc": np.zeros(3, dtype=bool),
                "permeability": np.where(mask, PERMEABLE, TIGHT),
                "pore_pressure": round_mantissa(pressure, BITS),
            }


def burgers_rows() -> Iterator[dict[str, Any]]:
    """One row per trajectory: the field at t = 0, and those at t = 1/16, 2/16, ... 1."""
    data = load("burgers_lowres")
    for number, states in enumerate(data["output"]):
        group = f"burgers-{number:04d}"
        yield {
            "id": group,
            "split": assign(group, (0.8, 0.1, 0.1)),
            "group": group,
            "cell": np.eye(3),
            "pbc": np.array([True, False, False]),
            "velocity": round_mantissa(states[0], BITS),
            "viscosity": float(data["visc"].squeeze()),
            "interval": BURGERS_INTERVAL,
            "velocity@": round_mantissa(states[1:], BITS),
        }
