"""A scalar field in three dimensions, on a box of points: what isosurfaces are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from sfm.errors import InputError


def _no_numbers() -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


def _no_positions() -> np.ndarray:
    return np.zeros((0, 3))


@dataclass(frozen=True, eq=False)
class Volume:
    """Values on the points `origin + (i, j, k) * steps`, and the atoms between them.

    Attributes:
        values: (X, Y, Z), in `unit`.
        unit: of the values.
        origin: (3,) place of the first point, angstrom.
        steps: (3,) distances between points, angstrom.
        surface: value at which to draw a surface first, and at its negative where there is any.
        types: (N,) atomic numbers, none where the field holds no atoms.
        positions: (N, 3) angstrom.

    Raises:
        InputError: the values are not on three axes of at least two points.
    """

    values: Float[np.ndarray, "X Y Z"]
    unit: str
    origin: Float[np.ndarray, " 3"]
    steps: Float[np.ndarray, " 3"]
    surface: float
    types: Int[np.ndarray, " N"] = field(default_factory=_no_numbers)
    positions: Float[np.ndarray, "N 3"] = field(default_factory=_no_positions)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or min(self.values.shape) < 2:
            raise InputError(f"a volume of shape {self.values.shape} has no three axes")


def box_points(
    positions: Float[np.ndarray, "N 3"], *, margin: float, step: float, most: int
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"], tuple[int, int, int]]:
    """Origin, steps and numbers of points of a box around atoms.

    Args:
        positions: (N, 3) angstrom.
        margin: around the atoms, angstrom.
        step: distance between points, angstrom, unless an axis would have more than `most`.
        most: points along an axis.

    Returns:
        Origin (3,) and steps (3,) in angstrom, and the three numbers of points.
    """
    low, high = positions.min(0) - margin, positions.max(0) + margin
    counts = np.clip(np.ceil((high - low) / step).astype(int) + 1, 2, most)
    x, y, z = (int(n) for n in counts)
    return low, (high - low) / (counts - 1), (x, y, z)
