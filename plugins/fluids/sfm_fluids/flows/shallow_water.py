"""Shapes of the bottom, and initial flows, of shallow water on a periodic rectangle. float64."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.flows.flows_2d import random_vorticity
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.grid_2d import Grid

SHAPES = ("flat", "seamount", "ridge")


def shape(name: str, grid: Grid) -> Float[Tensor, "H W"]:
    """(H, W) of unit height: `flat` is zero, `seamount` round in the middle, `ridge` along y."""
    x, y = grid.coordinates()
    across = torch.cos(2 * math.pi * x / grid.length_x)
    along = torch.cos(2 * math.pi * y / grid.length_y)
    if name == "seamount":
        return torch.exp(-2 * (2 + across + along))
    return torch.exp(-3 * (1 + across)) if name == "ridge" else torch.zeros_like(x)


def drop(grid: Grid) -> Float[Tensor, "H W"]:
    """(H, W): a round bump of unit height in the middle, smooth and periodic, of zero mean."""
    bump = shape("seamount", grid)
    return bump - bump.mean()


def balanced_vortices(
    grid: Grid,
    speed: float,
    coriolis: Float[Tensor, " ..."],
    gravity: Float[Tensor, " ..."],
    seed: int,
) -> tuple[Float[Tensor, "2 H W"], Float[Tensor, "*B H W"]]:
    """A random flow u = k x grad psi of rms `speed` and the elevation f psi / g that balances it.

    Without gravity the surface stays flat. Shapes (2, H, W) and, for f and g that are () or
    (B, 1, 1), (H, W) or (B, H, W). Any consistent system of units.
    """
    omega = random_vorticity(grid, 3.0, speed, seed)
    ky, kx = grid.wavenumbers()
    k2 = kx**2 + ky**2
    k2[0, 0] = 1.0
    hat = -torch.fft.rfft2(omega) / k2
    hat[0, 0] = 0.0
    psi = torch.fft.irfft2(hat, s=grid.shape)
    slope = torch.where(gravity > 0, coriolis / gravity, torch.zeros_like(gravity))
    return spectral.velocity(omega, grid), slope * psi
