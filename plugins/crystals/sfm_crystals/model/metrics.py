"""Errors of crystals' quantities in the units that people quote."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from sfm.data.isotropy import ELASTIC, MATRIX, isotropic
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


def _isotropic(tensors: np.ndarray, irreps: str, which: int) -> np.ndarray:
    """(S,) the share of one isotropic pattern in each tensor."""
    parts = isotropic(irreps)
    assert parts is not None
    flat = np.asarray(tensors, dtype=np.float64).reshape(len(tensors), -1)
    return np.asarray(flat @ parts.weights[which])


def mae_isotropic_matrix(
    predicted: Float[np.ndarray, "S 3 3"], target: Float[np.ndarray, "S 3 3"]
) -> float:
    """Mean absolute error of a third of the trace, in the unit of the matrices."""
    return _mae(*(_isotropic(x, MATRIX, 0) for x in (predicted, target)))


def mae_bulk(predicted: Float[np.ndarray, "S 6 6"], target: Float[np.ndarray, "S 6 6"]) -> float:
    """Mean absolute error of Voigt's bulk modulus, GPa (R. Hill (1952))."""
    return _mae(*(_isotropic(x, ELASTIC, 0) for x in (predicted, target)))


def mae_shear(predicted: Float[np.ndarray, "S 6 6"], target: Float[np.ndarray, "S 6 6"]) -> float:
    """Mean absolute error of Voigt's shear modulus, GPa (R. Hill (1952))."""
    return _mae(*(_isotropic(x, ELASTIC, 1) for x in (predicted, target)))
