"""How the energy of a pair ends at its cutoff."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

ONSET = 0.66  # where the switching functions begin, in cutoffs


def _quintic(r2: Tensor, onset: Tensor, cutoff: Tensor) -> tuple[Tensor, Tensor]:
    """1 - 10 t^3 + 15 t^4 - 6 t^5: twice continuously differentiable."""
    r = r2.sqrt()
    t = ((r - onset) / (cutoff - onset)).clamp(0.0, 1.0)
    square = t * t
    slope = square * (1 - t).square() * (-15 / (cutoff - onset)) / r
    return 1 - square * t * (10 - 15 * t + 6 * square), slope


def _quintic_bend(r2: Tensor, onset: Tensor, cutoff: Tensor) -> Tensor:
    r, width = r2.sqrt(), cutoff - onset
    t = ((r - onset) / width).clamp(0.0, 1.0)
    rise = t * (1 - t)
    return rise * ((30 / width) * rise / r - (60 / width**2) * (1 - 2 * t)) / (4 * r2)


def _xplor_bend(r2: Tensor, onset: Tensor, cutoff: Tensor) -> Tensor:
    o2, c2 = onset**2, cutoff**2
    between = ((r2 >= o2) & (r2 < c2)).to(r2)
    return between * (12 * r2 - 6 * (o2 + c2)) / (c2 - o2) ** 3


def _xplor(r2: Tensor, onset: Tensor, cutoff: Tensor) -> tuple[Tensor, Tensor]:
    """(rc^2 - r^2)^2 (rc^2 + 2 r^2 - 3 ro^2) / (rc^2 - ro^2)^3: once, as X-PLOR and ase have it."""
    o2, c2 = onset**2, cutoff**2
    gap, size = c2 - r2, (c2 - o2) ** 3
    within, reached = r2 >= o2, r2 < c2
    value = torch.where(within, gap**2 * (c2 + 2 * r2 - 3 * o2) / size, 1.0)
    slope = torch.where(within & reached, 6 * gap * (o2 - r2) / size, 0.0)
    return torch.where(reached, value, 0.0), slope


SWITCHES = {"quintic": _quintic, "xplor": _xplor}
"""s and ds/d(r^2) at r^2 (P,), from an onset to a cutoff."""
BENDS = {"quintic": _quintic_bend, "xplor": _xplor_bend}
"""d^2s/d(r^2)^2 of the same."""


def ended(
    pair: Callable[[Float[Tensor, "*P"]], Float[Tensor, "*P"]],
    r: Float[Tensor, " P"],
    cutoff: Float[Tensor, ""],
    *,
    switch: str = "quintic",
) -> Float[Tensor, " P"]:
    """(P,) eV of pairs at distances r (P,) angstrom, zero from `cutoff` (angstrom) on.

    Args:
        pair: energies, eV, at distances.
        r: (P,) angstrom.
        cutoff: () angstrom.
        switch: `quintic` or `xplor` switch the energy off between 0.66 and 1 cutoff; `shift`
            subtracts its value at the cutoff (forces then jump there).
    """
    if switch == "shift":
        return torch.where(r < cutoff, pair(r) - pair(cutoff), 0.0)
    return pair(r) * SWITCHES[switch](r.square(), ONSET * cutoff, cutoff)[0]
