"""Filtering a fine flow to a coarse grid, and the exact subgrid stress that this leaves behind.

The filter is a Gaussian of width Delta (transform exp(-k^2 Delta^2 / 24)) followed by a sharp
spectral cut-off at the modes that the coarse grid's 2/3 rule retains. With
    tau = F[u u] - P[F[u] F[u]]
(F the filter, P the coarse cut-off) the filtered flow obeys the coarse solver's own discrete
equation exactly, with tau in the place of its closure: nothing else is lost.
S. B. Pope, Turbulent Flows (2000), chapter 13.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.spectral.grid_2d import Grid


@dataclass(frozen=True)
class Filter:
    """Gaussian filter of `width` (a length) and cut-off, from a fine grid to a coarse one.

    Raises `InputError` if the boxes differ or the coarse grid is not coarser.
    """

    fine: Grid
    coarse: Grid
    width: float

    def __post_init__(self) -> None:
        if (self.fine.length_x, self.fine.length_y) != (self.coarse.length_x, self.coarse.length_y):
            raise InputError("the filter's two grids must share one box")
        if self.coarse.height > self.fine.height or self.coarse.width > self.fine.width:
            raise InputError(
                f"cannot filter {self.fine.shape} points to {self.coarse.shape}: not coarser"
            )

    def gain(self) -> Tensor:
        """Float64 (H, W//2+1) on the coarse grid: what a mode is multiplied with."""
        ky, kx = self.coarse.wavenumbers()
        gaussian = torch.exp(-(ky**2 + kx**2) * self.width**2 / 24)
        return gaussian * self.coarse.retained()

    @cached_property
    def _rows(self) -> Tensor:
        index = torch.fft.fftfreq(self.coarse.height, 1 / self.coarse.height).round().long()
        return index % self.fine.height

    def __call__(self, field: Tensor) -> Tensor:
        """(..., Hf, Wf) -> (..., Hc, Wc)."""
        hat = torch.fft.rfft2(field, norm="forward")
        columns = self.coarse.width // 2 + 1
        kept = hat.index_select(-2, self._rows.to(field.device))[..., :columns]
        gain = self.gain().to(dtype=field.dtype, device=field.device)
        return torch.fft.irfft2(kept * gain, s=self.coarse.shape, norm="forward")

    def undo(self, field: Tensor) -> Tensor:
        """The field (..., Hc, Wc) before the Gaussian, but for the modes that the cut-off drops."""
        gain = self.gain()
        inverse = torch.where(gain > 0, 1 / gain.clamp(min=1e-300), 0.0)
        hat = torch.fft.rfft2(field) * inverse.to(dtype=field.dtype, device=field.device)
        return torch.fft.irfft2(hat, s=self.coarse.shape)

    def stress(self, velocity: Tensor) -> Tensor:
        """Exact subgrid stress (..., 2, 2, Hc, Wc) of a fine velocity (..., 2, Hf, Wf)."""
        resolved = self(velocity)
        return self(outer(velocity)) - cut_off(outer(resolved), self.coarse)


def outer(velocity: Tensor) -> Tensor:
    """u_i u_j (..., 2, 2, H, W) of a velocity (..., 2, H, W)."""
    return velocity.unsqueeze(-3) * velocity.unsqueeze(-4)


def cut_off(field: Tensor, grid: Grid) -> Tensor:
    """P: without the modes that the 2/3 rule drops."""
    hat = torch.fft.rfft2(field) * grid.retained(device=field.device)
    return torch.fft.irfft2(hat, s=grid.shape)
