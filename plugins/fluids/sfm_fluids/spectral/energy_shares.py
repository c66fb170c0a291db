"""What a velocity loses on its way into a solver: shares of its energy, by Fourier modes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

DIVERGENT = "divergent part"
BEYOND = "modes beyond the 2/3 rule"


def energy_shares(
    velocity: Float[np.ndarray, " ..."], lengths: Sequence[float], *, truncated: bool = True
) -> dict[str, float]:
    """Shares of the mean of |u|^2 / 2 that an incompressible solver drops.

    Args:
        velocity: (2, H, W), (3, D, H, W), or (N,) on a line, where nothing is divergent.
        lengths: of the box along x, y, z.
        truncated: whether the solver keeps only the modes of the 2/3 rule.

    Returns:
        the share of the divergent part, and that of the other modes beyond the 2/3 rule.
    """
    line = velocity.ndim == 1
    field = velocity[None] if line else velocity
    hat = np.fft.fftn(field, axes=tuple(range(1, field.ndim)), norm="forward")
    total = float(np.square(np.abs(hat)).sum())
    if total == 0:
        return {}
    space = field.shape[1:]
    modes = [np.fft.fftfreq(n, 1 / n) for n in space]  # whole numbers
    mesh = np.meshgrid(*modes, indexing="ij")
    k = [m / length for m, length in zip(reversed(mesh), lengths, strict=True)]  # x first
    shares = {}
    if not line:
        k2 = sum(np.square(c) for c in k)
        k2.flat[0] = 1.0
        along = sum(c * u for c, u in zip(k, hat, strict=True)) / k2
        shares[DIVERGENT] = float((np.square(np.abs(along)) * k2).sum()) / total
        hat = hat - np.stack([c * along for c in k])
    if truncated:
        kept = np.ones(space, dtype=bool)
        for m, n in zip(mesh, space, strict=True):
            kept &= np.abs(m) <= (n - 1) // 3
        shares[BEYOND] = float(np.square(np.abs(hat))[:, ~kept].sum()) / total
    return shares
