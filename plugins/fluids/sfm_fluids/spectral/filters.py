"""Filtering a fine flow to a coarse grid, and the exact subgrid stress that this leaves behind.

The filter is a Gaussian of width Delta (transform exp(-k^2 Delta^2 / 24)) followed by a sharp
spectral cut-off at the modes that the coarse grid's 2/3 rule retains. With
    tau = F[u u] - P[F[u] F[u]]
(F the filter, P the coarse cut-off) the filtered flow obeys the coarse solver's own discrete
equation exactly, with tau in the place of its closure: nothing else is lost.
S. B. Pope, Turbulent Flows (2000), chapter 13.

Any consistent system of units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.grid_3d import Grid3D
from sfm_fluids.spectral.transforms_3d import to_field, to_spectrum

G = TypeVar("G", Grid, Grid3D)


@dataclass(frozen=True)
class _GaussianCutOff(Generic[G]):
    """Gaussian filter of `width` (a length) and cut-off, from a fine grid to a coarse one.

    Raises `InputError` if the boxes differ or the coarse grid is not coarser.
    """

    fine: G
    coarse: G
    width: float

    def __post_init__(self) -> None:
        if self.fine.lengths != self.coarse.lengths:
            raise InputError("the filter's two grids must share one box")
        if any(c > f for c, f in zip(self.coarse.shape, self.fine.shape, strict=True)):
            raise InputError(
                f"cannot filter {self.fine.shape} points to {self.coarse.shape}: not coarser"
            )


@dataclass(frozen=True)
class Filter(_GaussianCutOff[Grid]):
    """Of fields in the plane."""

    def gain(self) -> Float[Tensor, "H K"]:
        """Float64 (H, W//2+1) on the coarse grid: what a mode is multiplied with, dimensionless."""
        ky, kx = self.coarse.wavenumbers()
        gaussian = torch.exp(-(ky**2 + kx**2) * self.width**2 / 24)
        return gaussian * self.coarse.dealias_mask()

    @cached_property
    def _rows(self) -> Tensor:
        index = torch.fft.fftfreq(self.coarse.height, 1 / self.coarse.height).round().long()
        rows: Tensor = index % self.fine.height
        return rows

    def __call__(self, field: Tensor) -> Tensor:
        """(..., Hf, Wf) -> (..., Hc, Wc)."""
        hat = torch.fft.rfft2(field, norm="forward")
        columns = self.coarse.width // 2 + 1
        kept = hat.index_select(-2, self._rows.to(field.device))[..., :columns]
        gain = self.gain().to(dtype=field.dtype, device=field.device)
        coarse: Tensor = torch.fft.irfft2(kept * gain, s=self.coarse.shape, norm="forward")
        return coarse

    def undo(self, field: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        """The field (..., Hc, Wc) before the Gaussian, but for the modes that the cut-off drops."""
        gain = self.gain()
        inverse = torch.where(gain > 0, 1 / gain.clamp(min=1e-300), 0.0)
        hat = torch.fft.rfft2(field) * inverse.to(dtype=field.dtype, device=field.device)
        sharp: Tensor = torch.fft.irfft2(hat, s=self.coarse.shape)
        return sharp

    def stress(self, velocity: Float[Tensor, "*B 2 H W"]) -> Float[Tensor, "*B 2 2 Hc Wc"]:
        """Exact subgrid stress (..., 2, 2, Hc, Wc) of a fine velocity (..., 2, Hf, Wf)."""
        resolved = self(velocity)
        return self(outer(velocity)) - cut_off(outer(resolved), self.coarse)


@dataclass(frozen=True)
class Filter3D(_GaussianCutOff[Grid3D]):
    """Of spectra of fields in space, which hold only the modes that the grid retains."""

    def spectrum(self, hat: Complex[Tensor, "*B kz ky kx"]) -> Complex[Tensor, "*B cz cy cx"]:
        """Spectra (..., *fine) -> filtered (..., *coarse), of each grid's `spectral_shape`."""
        kz, ky, kx = self.coarse.cutoff
        for axis, k in ((-3, kz), (-2, ky)):
            size = hat.shape[axis]
            rows = torch.cat((torch.arange(k + 1), torch.arange(size - k, size)))
            hat = hat.index_select(axis, rows.to(hat.device))
        k2 = self.coarse.square_wavenumber(device=hat.device)
        return hat[..., : kx + 1] * torch.exp(-k2 * self.width**2 / 24).to(hat.real.dtype)

    def stress(self, hat: Complex[Tensor, "*B 3 kz ky kx"]) -> Float[Tensor, "*B 3 3 D H W"]:
        """Exact subgrid stress (..., 3, 3, *coarse.shape) of velocity spectra (..., 3, *fine)."""
        velocity = to_field(hat, self.fine)
        flux = self.spectrum(to_spectrum(outer(velocity, axes=3), self.fine))
        resolved = to_field(self.spectrum(hat), self.coarse)
        return to_field(flux - to_spectrum(outer(resolved, axes=3), self.coarse), self.coarse)


def outer(
    velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"], axes: int = 2
) -> Float[Tensor, "*B 2 2 H W"] | Float[Tensor, "*B 3 3 D H W"]:
    """u_i u_j (..., 2, 2, H, W) of a velocity (..., 2, H, W); in space `axes` is 3."""
    return velocity.unsqueeze(-axes - 1) * velocity.unsqueeze(-axes - 2)


def cut_off(field: Float[Tensor, "*B H W"], grid: Grid) -> Float[Tensor, "*B H W"]:
    """P of a field (..., H, W): without the modes that the 2/3 rule drops."""
    hat = torch.fft.rfft2(field) * grid.dealias_mask(device=field.device)
    kept: Tensor = torch.fft.irfft2(hat, s=grid.shape)
    return kept
