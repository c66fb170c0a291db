"""Between the points of a spectral solver and the faces of a staggered one, in a periodic box.

A shift by half a cell in Fourier space is exact for band-limited fields (the unpaired Nyquist mode
of an even number of points cannot be shifted and is dropped). Points are at (i dx, j dy), the
corners of the cells: a vorticity on corners and a spectral one live at the same places.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def shifted(field: Float[Tensor, "*B H W"], cells: float, dim: int) -> Float[Tensor, "*B H W"]:
    """The periodic field (..., H, W) at points `cells` further along `dim` (-1: x, -2: y)."""
    n = field.shape[dim]
    hat = torch.fft.rfft(field, dim=dim)
    k = torch.arange(hat.shape[dim], dtype=torch.float64, device=field.device)
    angle = 2 * math.pi * cells / n * k
    factor = torch.polar(torch.ones_like(angle), angle)
    if n % 2 == 0 and cells != round(cells):
        factor[-1] = 0
    factor = factor.to(hat.dtype)
    hat = hat * (factor if dim == -1 else factor[:, None])
    shifted: Tensor = torch.fft.irfft(hat, n=n, dim=dim)
    return shifted


def faces_from_points(
    velocity: Float[Tensor, "*B 2 H W"],
) -> tuple[Float[Tensor, "*B H W"], Float[Tensor, "*B H W"]]:
    """(u, v) on the faces, (..., H, W) each, of a velocity (..., 2, H, W) at the corners."""
    return shifted(velocity[..., 0, :, :], 0.5, -2), shifted(velocity[..., 1, :, :], 0.5, -1)


def points_from_faces(
    u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"]
) -> Float[Tensor, "*B 2 H W"]:
    """Velocity (..., 2, H, W) at the corners of u and v on the faces."""
    return torch.stack((shifted(u, -0.5, -2), shifted(v, -0.5, -1)), -3)


def faces_from_centres(
    velocity: Float[Tensor, "*B 2 H W"],
) -> tuple[Float[Tensor, "*B H W"], Float[Tensor, "*B H W"]]:
    """(u, v) on the faces of a velocity (..., 2, H, W) at the cells' centres."""
    return shifted(velocity[..., 0, :, :], -0.5, -1), shifted(velocity[..., 1, :, :], -0.5, -2)


def centres_from_faces(
    u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"]
) -> Float[Tensor, "*B 2 H W"]:
    """Velocity (..., 2, H, W) at the cells' centres."""
    return torch.stack((shifted(u, 0.5, -1), shifted(v, 0.5, -2)), -3)
