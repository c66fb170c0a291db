"""Lennard-Jones energy of rare-gas clusters in torch.

    E = sum_{i<j} 4 epsilon ((sigma / r_ij)^12 - (sigma / r_ij)^6)

over all pairs of a system, open boundaries, no cutoff. J. E. Lennard-Jones, Proc. Phys. Soc. 43,
461 (1931). Argon: epsilon / k_B = 119.8 K, sigma = 3.405 angstrom (A. Rahman, Phys. Rev. 136, A405
(1964)).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.constants import BOLTZMANN

ARGON_EPSILON = 119.8 * BOLTZMANN  # eV
ARGON_SIGMA = 3.405  # angstrom


def energy(
    positions: Float[Tensor, "N 3"],
    system: Int[Tensor, " N"],
    epsilon: Float[Tensor, ""],
    sigma: Float[Tensor, ""],
) -> Float[Tensor, " S"]:
    """Energies (S,) in eV of the systems of a batch.

    Args:
        positions: (N, 3), angstrom.
        system: (N,) index of each atom's system, ascending, 0 to S - 1.
        epsilon: well depth, eV.
        sigma: distance at which the energy of a pair is zero, angstrom.
    """
    first, second = pairs(system)
    inverse = sigma.square() / (positions[first] - positions[second]).square().sum(-1)
    cube = inverse**3
    values = 4 * epsilon * (cube.square() - cube)
    total = values.new_zeros(int(system[-1]) + 1)
    return total.index_add(0, system[first], values)


def pairs(system: Int[Tensor, " N"]) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"]]:
    """Indices (P,), (P,) of all pairs i < j inside each system."""
    parts, start = [], 0
    for count in torch.bincount(system).tolist():
        parts.append(torch.triu_indices(count, count, 1, device=system.device) + start)
        start += count
    first, second = torch.cat(parts, dim=1)
    return first, second


def icosahedron(sigma: float = ARGON_SIGMA) -> Float[np.ndarray, "13 3"]:
    """(13, 3) the ground state of thirteen atoms, whose energy is -44.326801 epsilon.

    M. R. Hoare and P. Pal, Adv. Phys. 20, 161 (1971).
    """
    golden = (1 + math.sqrt(5)) / 2
    corners = [(0.0, a, b) for a in (-1.0, 1.0) for b in (-golden, golden)]
    corners = [tuple(np.roll(corner, shift)) for corner in corners for shift in range(3)]
    shape = np.concatenate([np.zeros((1, 3)), np.array(corners) / math.sqrt(1 + golden**2)])
    first, second = np.triu_indices(13, 1)
    lengths = np.linalg.norm(shape[first] - shape[second], axis=1)
    radius = sigma * (2 * (lengths**-12).sum() / (lengths**-6).sum()) ** (1 / 6)
    positions: np.ndarray = radius * shape
    return positions
