"""Fourier calculus on a periodic rectangle: wavenumbers, velocity from vorticity, gradients.

Arrays are images: the last axis (W) is x, the one before (H) is y. Component 0 of a velocity is
along x, component 1 along y. By definition the vorticity is omega = dv/dx - du/dy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from sfm.errors import InputError


@dataclass(frozen=True)
class Grid:
    """A periodic box of `height` x `width` points and side lengths `length_y` x `length_x`.

    Raises `InputError` for fewer than four points a side or a length that is not positive.
    """

    height: int
    width: int
    length_y: float = 2 * math.pi
    length_x: float = 2 * math.pi

    def __post_init__(self) -> None:
        if self.height < 4 or self.width < 4:
            raise InputError(f"a grid needs 4 x 4 points or more, got {self.height} x {self.width}")
        if not (self.length_x > 0 and self.length_y > 0):
            raise InputError(
                f"the box needs positive lengths, got {self.length_x} x {self.length_y}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def lengths(self) -> tuple[float, float]:
        """(y, x)."""
        return self.length_y, self.length_x

    @property
    def spacing(self) -> tuple[float, float]:
        """(dy, dx)."""
        return self.length_y / self.height, self.length_x / self.width

    @property
    def isotropic_spacing(self) -> float:
        """The spacing h where dx = dy; closures need it. Raises `InputError` otherwise."""
        dy, dx = self.spacing
        if abs(dx - dy) > 1e-9 * dx:
            raise InputError(
                f"a subgrid closure needs square cells, got dx={dx:.6g} and dy={dy:.6g}; "
                "choose points in proportion to the box lengths"
            )
        return dx

    def wavenumbers(
        self, *, device: torch.device | str = "cpu"
    ) -> tuple[Float[Tensor, "H 1"], Float[Tensor, "1 K"]]:
        """Float64 (ky (H, 1), kx (1, W//2+1)) in radians per length."""
        return _wavenumbers(self, str(device))

    def dealias_mask(self, *, device: torch.device | str = "cpu") -> Bool[Tensor, "H K"]:
        """Bool (H, W//2+1): the modes that the 2/3 rule keeps, index <= (N-1)//3 on each axis."""
        return _dealias_mask(self, str(device))

    def coordinates(
        self, *, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
        """(x (H, W), y (H, W)) of the grid points, the first at the origin."""
        dy, dx = self.spacing
        y = torch.arange(self.height, dtype=dtype, device=device) * dy
        x = torch.arange(self.width, dtype=dtype, device=device) * dx
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        return xx, yy


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _wavenumbers(grid: Grid, device: str) -> tuple[Tensor, Tensor]:
    dy, dx = grid.spacing
    ky = 2 * math.pi * torch.fft.fftfreq(grid.height, dy, dtype=torch.float64)
    kx = 2 * math.pi * torch.fft.rfftfreq(grid.width, dx, dtype=torch.float64)
    return ky[:, None].to(device), kx[None, :].to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _dealias_mask(grid: Grid, device: str) -> Tensor:
    iy = torch.fft.fftfreq(grid.height, 1 / grid.height, dtype=torch.float64).abs().round()
    ix = torch.fft.rfftfreq(grid.width, 1 / grid.width, dtype=torch.float64).round()
    keep: Tensor = (iy[:, None] <= (grid.height - 1) // 3) & (ix[None, :] <= (grid.width - 1) // 3)
    return keep.to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def derivative_factors(
    grid: Grid, dtype: torch.dtype, device: str
) -> tuple[Complex[Tensor, "H 1"], Complex[Tensor, "1 K"]]:
    """i ky (H, 1) and i kx (1, W//2+1), the unpaired Nyquist mode zero, in the dtype's complex."""
    ky, kx = _wavenumbers(grid, device)
    ky, kx = ky.clone(), kx.clone()
    if grid.height % 2 == 0:
        ky[grid.height // 2] = 0
    if grid.width % 2 == 0:
        kx[:, grid.width // 2] = 0
    complex_type = torch.complex(torch.zeros((), dtype=dtype), torch.zeros((), dtype=dtype)).dtype
    return (1j * ky).to(complex_type), (1j * kx).to(complex_type)


def velocity_gradient(
    velocity: Float[Tensor, "*B 2 H W"], grid: Grid
) -> Float[Tensor, "*B 2 2 H W"]:
    """G[..., i, j] = d u_i / d x_j of a velocity (..., 2, H, W), as (..., 2, 2, H, W)."""
    iky, ikx = derivative_factors(grid, velocity.dtype, str(velocity.device))
    hat = torch.fft.rfft2(velocity)
    gradient = torch.stack((hat * ikx, hat * iky), dim=-3)
    slopes: Tensor = torch.fft.irfft2(gradient, s=grid.shape)
    return slopes


def laplacian(field: Float[Tensor, "*B H W"], grid: Grid) -> Float[Tensor, "*B H W"]:
    """Spectral Laplacian of a field (..., H, W)."""
    ky, kx = grid.wavenumbers(device=field.device)
    hat = torch.fft.rfft2(field) * -(ky**2 + kx**2).to(field.dtype)
    curvature: Tensor = torch.fft.irfft2(hat, s=grid.shape)
    return curvature


def vorticity(velocity: Float[Tensor, "*B 2 H W"], grid: Grid) -> Float[Tensor, "*B H W"]:
    """omega = dv/dx - du/dy of a velocity (..., 2, H, W), as (..., H, W)."""
    iky, ikx = derivative_factors(grid, velocity.dtype, str(velocity.device))
    hat = torch.fft.rfft2(velocity)
    curl = ikx * hat[..., 1, :, :] - iky * hat[..., 0, :, :]
    omega: Tensor = torch.fft.irfft2(curl, s=grid.shape)
    return omega


def velocity(
    vorticity: Float[Tensor, "*B H W"], grid: Grid, mean: Float[Tensor, "*B 2"] | None = None
) -> Float[Tensor, "*B 2 H W"]:
    """The divergence-free velocity (..., 2, H, W) of a vorticity (..., H, W).

    A vorticity says nothing about the mean flow: give `mean` (..., 2) or get zero mean.
    """
    hat = torch.fft.rfft2(vorticity)
    field: Tensor = torch.fft.irfft2(
        velocity_factors(grid, vorticity.dtype, str(vorticity.device)) * hat.unsqueeze(-3),
        s=grid.shape,
    )
    return field if mean is None else field + mean[..., None, None]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def velocity_factors(grid: Grid, dtype: torch.dtype, device: str) -> Complex[Tensor, "2 H K"]:
    """(2, H, W//2+1) complex: i ky / k^2 and -i kx / k^2, from vorticity to velocity."""
    ky, kx = _wavenumbers(grid, device)
    k2 = ky**2 + kx**2
    k2[0, 0] = 1.0
    iky, ikx = derivative_factors(grid, torch.float64, device)
    factors = torch.stack((iky / k2, -ikx / k2))
    complex_type = torch.complex64 if dtype == torch.float32 else torch.complex128
    return factors.to(complex_type)


def divergence(velocity: Float[Tensor, "*B 2 H W"], grid: Grid) -> Float[Tensor, "*B H W"]:
    """du/dx + dv/dy of a velocity (..., 2, H, W)."""
    gradient = velocity_gradient(velocity, grid)
    return gradient[..., 0, 0, :, :] + gradient[..., 1, 1, :, :]


def energy_spectrum(
    vorticity: Float[Tensor, "*B H W"], grid: Grid
) -> tuple[Float[Tensor, " n"], Float[Tensor, "*B n"]]:
    """(k, E(k)): kinetic energy per unit mass in shells of width 2 pi / max length.

    vorticity (..., H, W) -> k (n,), E (..., n); the sum over shells is the mean kinetic energy.
    """
    ky, kx = grid.wavenumbers(device=vorticity.device)
    k2 = (ky**2 + kx**2).to(vorticity.dtype)
    weight = torch.full_like(kx, 2.0)
    weight[:, 0] = 1.0
    if grid.width % 2 == 0:
        weight[:, -1] = 1.0
    hat = torch.fft.rfft2(vorticity, norm="forward")
    density = (
        0.5
        * weight.to(k2.dtype)
        * hat.abs().square()
        / k2.clamp(min=1e-300 if k2.dtype == torch.float64 else 1e-30)
    )
    density[..., 0, 0] = 0.0
    unit = 2 * math.pi / max(grid.length_x, grid.length_y)
    shell = (k2.sqrt() / unit).round().long().flatten()
    spectrum = density.new_zeros(*density.shape[:-2], int(shell.max()) + 1)
    spectrum.index_add_(-1, shell, density.flatten(-2))
    return unit * torch.arange(spectrum.shape[-1], dtype=vorticity.dtype), spectrum
