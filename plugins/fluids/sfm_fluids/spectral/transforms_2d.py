"""Transforms between fields and half spectra that keep only the columns of the 2/3 rule.

A field (..., H, W) has modes (..., H, K) with (W - 1)//3 + 1 columns 0 <= kx < W/3: two thirds
of what `rfft2` returns, so transforms along y and all work on modes cost a third less. On small
grids, where the number of calls counts and not the work, all W//2 + 1 columns are kept. Rows are
complete; what the rule drops is set to zero by the factors that modes are multiplied by.
The transform along y leaves the modes of wide grids with ky as the fastest index in memory; what
is multiplied with them is laid out in the same way (`arranged`), since mixing layouts makes
pointwise work several times slower.

Normalised as `torch.fft.rfft2` is: the mode of a field's mean is H W times the mean.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from sfm_fluids.spectral.grid_2d import Grid

SMALL = 64  # up to this width all columns are kept


def columns(grid: Grid) -> int:
    """K, how many columns are kept."""
    return (grid.width - 1) // 3 + 1 if grid.width > SMALL else grid.width // 2 + 1


def to_modes(field: Float[Tensor, "*B H W"], grid: Grid) -> Complex[Tensor, "*B H K"]:
    """(..., H, W) -> (..., H, K)."""
    modes: Tensor
    if grid.width <= SMALL:
        modes = torch.fft.rfft2(field)
    else:
        modes = torch.fft.fft(torch.fft.rfft(field)[..., : columns(grid)], dim=-2)
    return modes


def to_points(modes: Complex[Tensor, "*B H K"], grid: Grid) -> Float[Tensor, "*B H W"]:
    """(..., H, K) -> (..., H, W)."""
    field: Tensor
    if grid.width <= SMALL:
        field = torch.fft.irfft2(modes, s=grid.shape)
    else:
        field = torch.fft.irfft(torch.fft.ifft(modes, dim=-2), n=grid.width)
    return field


def expand(modes: Inexact[Tensor, "*B H K"], grid: Grid) -> Inexact[Tensor, "*B H columns"]:
    """(..., H, K) -> (..., H, W//2+1), the layout of `rfft2`."""
    return torch.nn.functional.pad(modes, (0, grid.width // 2 + 1 - modes.shape[-1]))


def arranged(modes: Inexact[Tensor, "*B H K"], grid: Grid) -> Inexact[Tensor, "*B H K"]:
    """Something of shape (..., H, K) in the memory layout of `to_modes`."""
    if grid.width <= SMALL:
        return modes.contiguous()
    return modes.transpose(-1, -2).contiguous().transpose(-1, -2)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def column_weights(grid: Grid, device: str) -> Float[Tensor, " K"]:
    """(K,) float64: in how many modes of the full spectrum each column stands, 1 or 2."""
    weights = torch.full((columns(grid),), 2.0, dtype=torch.float64, device=device)
    weights[0] = 1.0
    if grid.width % 2 == 0 and columns(grid) == grid.width // 2 + 1:
        weights[-1] = 1.0
    return weights
