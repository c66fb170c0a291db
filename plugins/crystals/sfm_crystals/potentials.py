"""Classical potentials of crystals: Lennard-Jones and Stillinger-Weber.

Both take their cutoff in units of sigma, so that every length scales with sigma exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Bonds, Cells, bonds

ONSET = 0.66  # where the switching functions begin, in cutoffs


def _lengths(pairs: Bonds) -> Tensor:
    return torch.linalg.vector_norm(pairs.vectors, dim=1)


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
    r = _lengths(pairs)
    sixth = (sigma / r) ** 6
    pair = 4 * epsilon * (sixth**2 - sixth)
    if switch == "shift":
        pair = pair - 4 * epsilon * (cutoff**-12 - cutoff**-6)
    else:
        pair = pair * SWITCHES[switch](r, ONSET * reach, reach)
    return system_sum(pair / 2, cells.system[pairs.receiver], cells.n_systems)


# Stillinger & Weber, Phys. Rev. B 31, 5262 (1985), eqs. 2.3-2.7
SW_A, SW_B, SW_P, SW_REACH, SW_GAMMA = 7.049556277, 0.6022245584, 4, 1.80, 1.20


def stillinger_weber(cells: Cells, epsilon: Tensor, sigma: Tensor, three_body: Tensor) -> Tensor:
    """(S,) energy in eV, Stillinger and Weber's silicon.

    Pairs: eps A [B (sigma/r)^4 - 1] exp[1 / (r/sigma - 1.8)].
    Triplets: eps lambda (cos theta + 1/3)^2 exp[1.2/(r_ij/sigma - 1.8) + 1.2/(r_ik/sigma - 1.8)].

    Args:
        cells: all atoms are of one kind.
        epsilon: 2.1683 eV for silicon.
        sigma: 2.0951 angstrom for silicon.
        three_body: lambda, 21 for silicon.
    """
    reach = SW_REACH * sigma
    pairs = bonds(cells, float(reach.detach()))
    r = _lengths(pairs)
    inverse_gap = 1 / (r / sigma - SW_REACH).clamp(max=-1e-3)  # exp(-1000) is 0 in float64
    pair = SW_A * (SW_B * (sigma / r) ** SW_P - 1) * torch.exp(inverse_gap)
    first, second = triplets(pairs.receiver)
    cosine = (pairs.vectors[first] * pairs.vectors[second]).sum(1) / (r[first] * r[second])
    decay = torch.exp(SW_GAMMA * (inverse_gap[first] + inverse_gap[second]))
    triplet = three_body * (cosine + 1 / 3) ** 2 * decay
    system = cells.system[pairs.receiver]
    energy = system_sum(pair / 2, system, cells.n_systems)
    return epsilon * (energy + system_sum(triplet, system[first], cells.n_systems))


def triplets(receiver: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of bonds that share a receiver, each once: two (T,) tensors of bond indices.

    Args:
        receiver: (E,) ascending.
    """
    count = torch.bincount(receiver) if len(receiver) else receiver
    start = torch.cumsum(count, 0) - count
    partners = count[receiver]
    first = torch.repeat_interleave(torch.arange(len(receiver)), partners)
    begin = torch.cumsum(partners, 0) - partners
    second = start[receiver[first]] + torch.arange(len(first)) - begin[first]
    once = first < second
    return first[once], second[once]
