"""Metrics of molecules, beyond the core's mean absolute and root mean square errors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def mean_cosine(predicted: Float[np.ndarray, "*rows"], target: Float[np.ndarray, "*rows"]) -> float:
    """Mean cosine of the angle between predicted and true vectors (n, 3); 1 is perfect.

    Vectors shorter than 1e-3 (eV/angstrom for forces) have no direction to speak of: left out.
    """
    predicted, target = np.reshape(predicted, (-1, 3)), np.reshape(target, (-1, 3))
    size = np.linalg.norm(target, axis=1)
    keep = size > 1e-3
    dot = (predicted[keep] * target[keep]).sum(1)
    length = np.linalg.norm(predicted[keep], axis=1).clip(1e-12) * size[keep]
    return float((dot / length).mean()) if keep.any() else float("nan")


def mean_vector_error(
    predicted: Float[np.ndarray, "*rows"], target: Float[np.ndarray, "*rows"]
) -> float:
    """Mean length of the difference of vectors (n, 3), in their unit."""
    difference = np.reshape(predicted, (-1, 3)) - np.reshape(target, (-1, 3))
    return float(np.linalg.norm(difference, axis=1).mean())


def correlation(predicted: Float[np.ndarray, "*rows"], target: Float[np.ndarray, "*rows"]) -> float:
    """Pearson's correlation coefficient of all values, two arrays of the same shape and unit."""
    return float(np.corrcoef(np.ravel(predicted), np.ravel(target))[0, 1])
