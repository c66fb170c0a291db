"""Metrics of dynamics, beyond the core's mean absolute and root mean square errors."""

from __future__ import annotations

import numpy as np


def relative_error(predicted: np.ndarray, target: np.ndarray) -> float:
    """Root mean square of the difference over that of the target; 1 is as bad as zero.

    Of two arrays of the same shape and unit.
    """
    difference = np.ravel(predicted) - np.ravel(target)
    return float(np.sqrt((difference**2).mean() / max((np.ravel(target) ** 2).mean(), 1e-300)))
