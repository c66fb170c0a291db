"""Coulomb energy of point charges in periodic cells, by Ewald's sums.

    E = k_e / 2 sum' q_i q_j / r_ij

over all images, surrounded by a conductor. P. P. Ewald, Ann. Phys. 369, 253 (1921), in the form of
D. Frenkel, B. Smit, Understanding Molecular Simulation (2002), section 12.1. The splitting changes
with the cells, the result does not: both sums are cut where their terms are below 1e-12.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm_crystals.cells import Cells, bonds

COULOMB = 14.3996454784  # eV angstrom / e^2: e^2 / (4 pi epsilon_0), CODATA 2018
SHARPNESS = 5.3  # erfc(5.3) is 7e-14


def ewald(cells: Cells, charges: Float[Tensor, " N"]) -> Float[Tensor, " S"]:
    """(S,) energy in eV.

    Args:
        cells: a uniform background makes each of them neutral.
        charges: (N,) e.
    """
    density = cells.counts().to(charges.dtype).max() / cells.volume().detach().min() ** 2
    width = math.sqrt(math.pi) * float(density) ** (1 / 6)  # both sums take equally long
    pairs = bonds(cells, SHARPNESS / width)
    r = pairs.lengths()
    near = charges[pairs.sender] * charges[pairs.receiver] * torch.erfc(width * r) / r
    energy = system_sum(near / 2, cells.system[pairs.receiver], cells.n_systems)
    itself = system_sum(charges.square(), cells.system, cells.n_systems)
    energy = energy - width / math.sqrt(math.pi) * itself
    net = system_sum(charges, cells.system, cells.n_systems)
    energy = energy - math.pi / (2 * width**2) * net.square() / cells.volume()
    offset, far = 0, []
    for cell, count in zip(cells.cell, cells.counts().tolist(), strict=True):
        mine = slice(offset, offset + count)
        far.append(_waves(cells.positions[mine], cell, charges[mine], width))
        offset += count
    energies: Tensor = COULOMB * (energy + torch.stack(far))
    return energies


def _waves(positions: Tensor, cell: Tensor, charges: Tensor, width: float) -> Tensor:
    """2 pi / V sum over k > 0 of exp(-k^2 / 4 width^2) / k^2 |S(k)|^2, both k and -k counted."""
    reach = 2 * width * SHARPNESS
    most = (reach * torch.linalg.vector_norm(cell.detach(), dim=1) / (2 * math.pi)).long().tolist()
    axes = [torch.arange(-m, m + 1, dtype=cell.dtype, device=cell.device) for m in most]
    whole = torch.cartesian_prod(*axes)
    half = whole[len(whole) // 2 + 1 :]  # of k and -k, one
    waves = 2 * math.pi * half @ torch.linalg.inv(cell).mT
    square = waves.square().sum(1)
    inside = square.detach() <= reach**2
    waves, square = waves[inside], square[inside]
    phase = waves @ positions.mT
    real, imaginary = torch.cos(phase) @ charges, torch.sin(phase) @ charges
    weight = torch.exp(-square / (4 * width**2)) / square
    volume = torch.linalg.det(cell).abs()
    energy: Tensor = 4 * math.pi / volume * (weight * (real.square() + imaginary.square())).sum()
    return energy
