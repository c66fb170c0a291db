"""Lennard-Jones energy of periodic cells.

The cutoff is in units of sigma, so that every length scales with sigma exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds

ONSET = 0.66  # where the switching functions begin, in cutoffs


def _quintic(r: Tensor, onset: Tensor, cutoff: Tensor) -> Tensor:
    """1 - 10 t^3 + 15 t^4 - 6 t^5: twice continuously differentiable."""
    t = ((r - onset) / (cutoff - onset)).clamp(0.0, 1.0)
    return 1 - t**3 * (10 - 15 * t + 6 * t**2)


def _xplor(r: Tensor, onset: Tensor, cutoff: Tensor) -> Tensor:
    """(rc^2 - r^2)^2 (rc^2 + 2 r^2 - 3 ro^2) / (rc^2 - ro^2)^3: once, as X-PLOR and ase have it."""
    inside = (cutoff**2 - r**2) ** 2 * (cutoff**2 + 2 * r**2 - 3 * onset**2)
    switched = inside / (cutoff**2 - onset**2) ** 3
    return torch.where(r < onset, torch.ones_like(r), torch.where(r < cutoff, switched, 0 * r))


SWITCHES = {"quintic": _quintic, "xplor": _xplor}


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
    reach = cutoff * sigma
    pairs = bonds(cells, float(reach.detach()))
    r = pairs.lengths()
    sixth = (sigma / r) ** 6
    pair = 4 * epsilon * (sixth**2 - sixth)
    if switch == "shift":
        pair = pair - 4 * epsilon * (cutoff**-12 - cutoff**-6)
    else:
        pair = pair * SWITCHES[switch](r, ONSET * reach, reach)
    return system_sum(pair / 2, cells.system[pairs.receiver], cells.n_systems)
