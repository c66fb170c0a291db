"""Two-phase random media, as the operator-learning benchmarks draw them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def random_phase(
    height: int, width: int, seed: int, inverse_length: float = 3.0
) -> Float[Tensor, "{height} {width}"]:
    """(H, W) 1 where a Gaussian random field is positive, else 0; float64.

    The field has the covariance (-laplacian + tau^2)^-2 with zero-flux sides on the unit square
    (Li et al. 2021, arXiv:2010.08895, with tau = 3), sampled at cell centres.

    Args:
        height: cells along y.
        width: cells along x.
        seed: of the field; the modes do not depend on the grid, so neither does the medium.
        inverse_length: tau.
    """
    modes = 64
    noise = torch.randn(
        modes, modes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    k = torch.arange(modes, dtype=torch.float64) * math.pi
    amplitude = noise / (k.unsqueeze(1).square() + k.square() + inverse_length**2)
    amplitude[0, 0] = 0

    def cosines(cells: int) -> Tensor:
        centres = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        norm = torch.where(k > 0, math.sqrt(2), 1.0)
        return norm * torch.cos(centres.unsqueeze(1) * k)

    return (cosines(height) @ amplitude @ cosines(width).mT > 0).double()
