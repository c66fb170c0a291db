"""Stillinger and Weber's silicon: pairs and triplets.

The cutoff is in units of sigma, so that every length scales with sigma exactly.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds
from sfm_crystals.potentials.triplets import triplets

# Stillinger & Weber, Phys. Rev. B 31, 5262 (1985), eqs. 2.3-2.7
SW_A, SW_B, SW_P, SW_REACH, SW_GAMMA = 7.049556277, 0.6022245584, 4, 1.80, 1.20


def stillinger_weber(
    cells: Cells,
    epsilon: Float[Tensor, ""],
    sigma: Float[Tensor, ""],
    three_body: Float[Tensor, ""],
) -> Float[Tensor, " S"]:
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
    r = pairs.lengths()
    inverse_gap = 1 / (r / sigma - SW_REACH).clamp(max=-1e-3)  # exp(-1000) is 0 in float64
    pair = SW_A * (SW_B * (sigma / r) ** SW_P - 1) * torch.exp(inverse_gap)
    first, second = triplets(pairs.receiver)
    cosine = (pairs.vectors[first] * pairs.vectors[second]).sum(1) / (r[first] * r[second])
    decay = torch.exp(SW_GAMMA * (inverse_gap[first] + inverse_gap[second]))
    triplet = three_body * (cosine + 1 / 3) ** 2 * decay
    system = cells.system[pairs.receiver]
    energy = system_sum(pair / 2, system, cells.n_systems)
    return epsilon * (energy + system_sum(triplet, system[first], cells.n_systems))
