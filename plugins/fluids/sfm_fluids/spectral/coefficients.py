"""Divergence-free velocities on a periodic grid as vectors of independent real numbers."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.spectral.grid_2d import Grid


class Coefficients:
    """The orthonormal basis of the velocities that the 2/3 rule keeps, the mean flow included.

    |coefficients|^2 is the sum of |u|^2 over all grid points.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.modes, self.where, self.scale = _layout(grid)

    def __len__(self) -> int:
        return 2 * len(self.modes) + 2

    def pack(
        self, vorticity: Float[Tensor, "*B H W"], mean: Float[Tensor, "*B 2"]
    ) -> Float[Tensor, "*B n"]:
        """(..., H, W) and (..., 2) -> (..., n)."""
        hat = torch.fft.rfft2(vorticity, norm="ortho").flatten(-2)[..., self.modes]
        hat = hat / self.scale.flatten()[self.modes].to(vorticity)
        points = self.grid.height * self.grid.width
        return torch.cat((hat.real, hat.imag, mean * points**0.5), -1)

    def unpack(
        self, vector: Float[Tensor, "*B n"]
    ) -> tuple[Float[Tensor, "*B H W"], Float[Tensor, "*B 2"]]:
        """(..., n) -> vorticity (..., H, W) and mean (..., 2)."""
        count = len(self.modes)
        real, imaginary, mean = vector.split((count, count, 2), -1)
        none = torch.zeros_like(real[..., :1])
        scale = self.scale.to(vector)
        real = torch.cat((real, real, none), -1)[..., self.where] * scale
        imaginary = torch.cat((imaginary, -imaginary, none), -1)[..., self.where] * scale
        vorticity = torch.fft.irfft2(
            torch.complex(real, imaginary), s=self.grid.shape, norm="ortho"
        )
        return vorticity, mean / (self.grid.height * self.grid.width) ** 0.5


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must serve training too
def _layout(grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Flat indices (n,) of the independent modes in a half spectrum; which of (coefficients, their
    conjugates, 0) stands in each of its places; |k| / sqrt(2), vorticity per coefficient."""
    ky, kx = grid.wavenumbers()
    keep = grid.dealias_mask()
    independent = keep & ((kx > 0) | (ky > 0))
    modes = independent.flatten().nonzero()[:, 0]
    where = torch.full((keep.numel(),), 2 * len(modes))
    where[modes] = torch.arange(len(modes))
    where = where.reshape(keep.shape)
    first = where[:, 0]
    mirrored = torch.cat((first[:1], first[1:].flip(0)))
    empty = (first == 2 * len(modes)) & (mirrored < len(modes))
    where[:, 0] = torch.where(empty, mirrored + len(modes), first)
    return modes, where, ((ky**2 + kx**2) / 2).sqrt()
