"""Vorticities that two-dimensional simulations start from, (H, W) in float64.

In the units of the box.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.grid_2d import Grid


def random_vorticity(
    grid: Grid, peak: float, rms_velocity: float, seed: int
) -> Float[Tensor, "H W"]:
    """(H, W) float64: random phases, E(k) ~ k^3 exp(-(k/peak)^2) up to k = 12; grid-independent."""
    generator = torch.Generator().manual_seed(seed)
    reach = 12
    phase = (
        2 * math.pi * torch.rand(2 * reach + 1, reach + 1, generator=generator, dtype=torch.float64)
    )
    ny = torch.arange(-reach, reach + 1, dtype=torch.float64)[:, None]
    nx = torch.arange(0, reach + 1, dtype=torch.float64)[None, :]
    k = torch.sqrt(nx**2 + ny**2)
    amplitude = k**2 * torch.exp(-0.5 * (k / peak) ** 2) * ((nx > 0) | (ny > 0)) * (k <= reach)
    hat = torch.zeros(grid.height, grid.width // 2 + 1, dtype=torch.complex128)
    rows = 2 * ny.abs().flatten() < grid.height
    columns = 2 * nx.flatten() < grid.width
    waves = torch.polar(amplitude, phase)[rows][:, columns]
    hat[ny.long().flatten()[rows] % grid.height, : waves.shape[1]] = waves
    omega = torch.fft.irfft2(hat, s=grid.shape)
    omega = omega - omega.mean()
    u = spectral.velocity(omega, grid)
    scaled: Tensor = omega * rms_velocity / u.square().sum(0).mean().sqrt()
    return scaled


def taylor_green(grid: Grid) -> Float[Tensor, "H W"]:
    """(H, W): vortices of the box's own wavenumbers, u = (cos(kx x) sin(ky y), ...).

    G. I. Taylor and A. E. Green, Proc. R. Soc. A 158, 499 (1937).
    """
    x, y = grid.coordinates()
    kx, ky = 2 * math.pi / grid.length_x, 2 * math.pi / grid.length_y
    return -(kx**2 + ky**2) / ky * torch.cos(kx * x) * torch.cos(ky * y)


INITIAL = ("random", "taylor-green", "rest")


def initial(name: str, grid: Grid, seed: int) -> Float[Tensor, "H W"]:
    """(H, W): the flow called `name`, of `INITIAL`; the random one has an rms velocity of 1."""
    if name == "random":
        return random_vorticity(grid, 3.0, 1.0, seed)
    return taylor_green(grid) if name == "taylor-green" else torch.zeros_like(grid.coordinates()[0])
