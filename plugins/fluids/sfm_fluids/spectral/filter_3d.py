"""Filtering a fine 3-D flow to a coarse grid, and the exact subgrid stress; see `filtering`.

As in two dimensions: a Gaussian of width Delta, then the cut-off of the coarse grid's 2/3 rule, and

    tau = F[u u] - P[F[u] F[u]]

so that the filtered flow obeys the coarse solver's own discrete equation with tau in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.spectral.grid_3d import Grid3D
from sfm_fluids.spectral.transforms_3d import to_field, to_spectrum


@dataclass(frozen=True)
class Filter3D:
    """Gaussian filter of `width` (a length) and cut-off, from a fine grid to a coarse one.

    Raises `InputError` if the boxes differ or the coarse grid is not coarser.
    """

    fine: Grid3D
    coarse: Grid3D
    width: float

    def __post_init__(self) -> None:
        if self.fine.lengths != self.coarse.lengths:
            raise InputError("the filter's two grids must share one box")
        if any(c > f for c, f in zip(self.coarse.shape, self.fine.shape, strict=True)):
            raise InputError(
                f"cannot filter {self.fine.shape} points to {self.coarse.shape}: not coarser"
            )

    def spectrum(self, hat: Tensor) -> Tensor:
        """Spectra (..., *fine.spectral_shape) -> filtered (..., *coarse.spectral_shape)."""
        kz, ky, kx = self.coarse.cutoff
        for axis, k in ((-3, kz), (-2, ky)):
            size = hat.shape[axis]
            rows = torch.cat((torch.arange(k + 1), torch.arange(size - k, size)))
            hat = hat.index_select(axis, rows.to(hat.device))
        k2 = self.coarse.square_wavenumber(device=hat.device)
        return hat[..., : kx + 1] * torch.exp(-k2 * self.width**2 / 24).to(hat.real.dtype)

    def stress(self, hat: Tensor) -> Tensor:
        """Exact subgrid stress (..., 3, 3, *coarse.shape) of velocity spectra (..., 3, *fine)."""
        fine = self.spectrum(to_spectrum(_outer(to_field(hat, self.fine)), self.fine))
        resolved = to_field(self.spectrum(hat), self.coarse)
        return to_field(fine - to_spectrum(_outer(resolved), self.coarse), self.coarse)


def _outer(velocity: Tensor) -> Tensor:
    return velocity.unsqueeze(-4) * velocity.unsqueeze(-5)
