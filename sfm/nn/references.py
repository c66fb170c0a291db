"""One number per token type, fitted to few labels: least squares that knows when to stop.

A scalar y of a system is explained by y = X c, where X holds the counts of its token types (of an
extensive quantity) or their fractions (of an intensive one). With a hundred labels of sixty
elements, plain least squares follows the noise, so four ways compete by their exact leave-one-out
errors:

    none            c = 0
    mean            one number for all types
    ridge           mean + minimiser of |y - X c|^2 + k |c|^2
    least squares   its limit k -> 0, where every label is predicted by others

The leave-one-out residual of a linear smoother H is (y - H y)_i / (1 - H_ii) (Allen, Technometrics
16, 125 (1974)); the singular values of X give it for all k at once. A more elaborate way has to win
by a hundredth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

PENALTIES = np.logspace(-8, 1, 37)
MARGIN = 0.01
DETERMINED = 1 - 1e-6
RCOND = 1e-10


@dataclass(frozen=True)
class References:
    """Fitted references.

    Attributes:
        values: (types,) one number per type.
        kind: `none`, `mean`, `ridge` or `least squares`.
        error: its leave-one-out root mean square error.
    """

    values: Float[np.ndarray, " types"]
    kind: str
    error: float


def fit_references(
    columns: Float[np.ndarray, "n types"],
    labels: Float[np.ndarray, " n"],
    *,
    allow_none: bool = True,
) -> References:
    """The best of the four ways.

    Args:
        columns: (n, types) counts or fractions.
        labels: (n,) what they should add up to.
        allow_none: whether leaving all at zero competes.
    """
    n_types = columns.shape[1]
    used = columns.any(0)
    size = columns.sum(1)
    along = size / np.linalg.norm(size)
    level = float(along @ labels) / float(np.linalg.norm(size))
    rest, leverage = labels - level * size, along**2
    best = References(np.full(n_types, level), "mean", _left_out(rest, leverage))
    if allow_none:
        best = _better(References(np.zeros(n_types), "none", _rms(labels)), best)
    # the common number is free, deviations from it are not: so it is projected out
    x = columns[:, used] - np.outer(along, along @ columns[:, used])
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    keep = s > max(RCOND * s[0], 1e-12 * np.linalg.norm(size))
    if not keep.any() or len(labels) < 3:
        return best
    u, s, vt = u[:, keep], s[keep], vt[keep]
    weight, squares = u.T @ rest, u**2

    def solution(shrink: np.ndarray, kind: str) -> References:
        values = np.zeros(n_types)
        values[used] = vt.T @ (shrink / s * weight)
        values += float(along @ (labels - columns @ values)) / float(np.linalg.norm(size))
        residual = rest - u @ (shrink * weight)
        return References(values, kind, _left_out(residual, leverage + squares @ shrink))

    for penalty in PENALTIES * s[0] ** 2:
        best = _better(best, solution(s**2 / (s**2 + penalty), "ridge"))
    if (leverage + squares.sum(1)).max() < DETERMINED:
        plain = solution(np.ones_like(s), "least squares")
        # as good as the best ridge is good enough: it is unbiased
        if plain.error <= best.error * (1 + MARGIN):
            best = plain
    return best


def _better(best: References | None, other: References) -> References:
    if best is None:
        return other
    margin = MARGIN if other.kind != best.kind else 0.0
    return other if other.error < best.error * (1 - margin) else best


def _left_out(residual: np.ndarray, leverage: np.ndarray) -> float:
    return _rms(residual / np.clip(1 - leverage, 1e-9, None))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
