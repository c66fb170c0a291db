"""Metrics of dynamics, beyond the core's mean absolute and root mean square errors."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def relative_error(
    predicted: Float[np.ndarray, "*rows"], target: Float[np.ndarray, "*rows"]
) -> float:
    """Root mean square of the difference over that of the target; 1 is as bad as zero.

    Of two arrays of the same shape and unit.
    """
    difference = np.ravel(predicted) - np.ravel(target)
    return float(np.sqrt((difference**2).mean() / max((np.ravel(target) ** 2).mean(), 1e-300)))
