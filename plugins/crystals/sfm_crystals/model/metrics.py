"""Errors of crystals' quantities in the units that people quote."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from sfm_crystals.constants import GPA


def _mae(predicted: np.ndarray, target: np.ndarray) -> float:
    difference = np.asarray(predicted, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    return float(np.abs(difference).mean())


def mae_milli(predicted: Float[np.ndarray, "*rows"], target: Float[np.ndarray, "*rows"]) -> float:
    """Mean absolute error times 1000: eV -> meV, eV/angstrom -> meV/angstrom; of (rows, dim)."""
    return 1000 * _mae(predicted, target)


def mae_gpa(predicted: Float[np.ndarray, "*rows"], target: Float[np.ndarray, "*rows"]) -> float:
    """Mean absolute error over all components of stresses (S, 3, 3) in eV/angstrom^3, in GPa."""
    return GPA * _mae(predicted, target)
