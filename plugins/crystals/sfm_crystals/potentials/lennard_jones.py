"""Lennard-Jones energy of periodic cells.

The cutoff is in units of sigma, so that every length scales with sigma exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds

ONSET = 0.66  # where the switching functions begin, in cutoffs


def _quintic(r2: Tensor, onset: Tensor, cutoff: Tensor) -> tuple[Tensor, Tensor]:
    """1 - 10 t^3 + 15 t^4 - 6 t^5: twice continuously differentiable."""
    r = r2.sqrt()
    t = ((r - onset) / (cutoff - onset)).clamp(0.0, 1.0)
    square = t * t
    slope = square * (1 - t).square() * (-15 / (cutoff - onset)) / r
    return 1 - square * t * (10 - 15 * t + 6 * square), slope


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


def pair_energy(
    r2: Tensor, epsilon: Tensor, sigma: Tensor, *, cutoff: float = 3.0, switch: str = "quintic"
) -> tuple[Tensor, Tensor]:
    """Energies (P,) eV of pairs at squared distances (P,) angstrom^2, and their slopes in these.

    Both are zero from the cutoff on. Arguments as in `lennard_jones`.
    """
    reach = cutoff * sigma
    inverse = 1 / r2
    ratio = sigma**2 * inverse
    sixth = ratio * ratio * ratio
    scaled = 4 * epsilon * sixth
    energy = scaled * (sixth - 1)
    slope = scaled * (3 - 6 * sixth) * inverse
    if switch == "shift":
        within = r2 < reach**2
        rest = 4 * epsilon * (cutoff**-12 - cutoff**-6)
        return torch.where(within, energy - rest, 0.0), torch.where(within, slope, 0.0)
    s, bend = SWITCHES[switch](r2, ONSET * reach, reach)
    return energy * s, slope * s + energy * bend


def lennard_jones(
    cells: Cells, epsilon: Tensor, sigma: Tensor, *, cutoff: float = 3.0, switch: str = "quintic"
) -> Tensor:
    """(S,) energy in eV: sum over pairs of 4 eps [(sigma/r)^12 - (sigma/r)^6] s(r).

    Args:
        cells: all atoms are of one kind.
        epsilon: well depth, eV.
        sigma: length, angstrom.
        cutoff: in units of sigma.
        switch: `quintic` or `xplor` switch the pair energy off between 0.66 and 1 cutoff; `shift`
            subtracts its value at the cutoff (forces then jump there).
    """
    pairs = bonds(cells, float((cutoff * sigma).detach()))
    r2 = pairs.vectors.square().sum(1)
    pair, _ = pair_energy(r2, epsilon, sigma, cutoff=cutoff, switch=switch)
    return system_sum(pair / 2, cells.system[pairs.receiver], cells.n_systems)
