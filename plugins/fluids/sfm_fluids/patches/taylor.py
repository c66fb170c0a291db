"""Time derivatives of a periodic flow in units of its own cells and strain.

u(t + T) = u + T A_1 + T^2/2 A_2 + ..., with A_1 = du/dt from the equation of motion and A_2 its
derivative along A_1. The series does not converge for the intervals that a surrogate bridges; its
terms are good vectors to build an answer from (Taylor's series of 1715, and the definition of A_2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.spectral.grid_2d import Grid, derivative_factors, velocity_factors
from sfm_fluids.spectral.momentum_flux_2d import vorticity_tendency


class Motion(NamedTuple):
    """B flows in cell units: lengths over the spacing h, velocities over g (rms strain per cell).

    Attributes:
        velocity: (B, 2, H, W), without its mean.
        force: (B, 2, H, W), f h / g^2.
        interval: (B,), T g / h.
        viscosity: (B,), nu / (g h).
        drag: (B,), alpha h / g.
    """

    velocity: Tensor
    force: Tensor
    interval: Tensor
    viscosity: Tensor
    drag: Tensor


def derivatives(motion: Motion) -> tuple[Float[Tensor, "B 2 H W"], Float[Tensor, "B 2 H W"]]:
    """(T A_1, T^2/2 A_2), each (B, 2, H, W); differentiable, 2/3 rule, free of divergence."""
    height, width = motion.velocity.shape[-2:]
    grid = Grid(height, width, float(height), float(width))
    real, device = motion.velocity.dtype, str(motion.velocity.device)
    iky, ikx = derivative_factors(grid, real, device)
    keep = grid.dealias_mask(device=device)

    def curl(field: Tensor) -> Tensor:
        hat = torch.fft.rfft2(field)
        omega: Tensor = keep * (ikx * hat[:, 1] - iky * hat[:, 0])
        return omega

    ky, kx = grid.wavenumbers(device=device)
    k2 = (ky**2 + kx**2).to(real)
    loss = motion.viscosity[:, None, None] * k2 + motion.drag[:, None, None]
    mean = motion.velocity.new_zeros(len(motion.velocity), 2)
    push = curl(motion.force)

    def advection(hat: Tensor) -> Tensor:
        return vorticity_tendency(hat, mean, grid)

    def field(hat: Tensor) -> Tensor:
        velocity: Tensor = torch.fft.irfft2(
            velocity_factors(grid, real, device) * hat.unsqueeze(-3), s=grid.shape
        )
        return velocity

    omega = curl(motion.velocity)
    still = advection(omega)
    first = still + push - loss * omega
    # advection is quadratic: its derivative along `first` is a difference, exactly
    second = advection(omega + first) - still - advection(first) - loss * first
    t = motion.interval[:, None, None, None]
    return t * field(first), 0.5 * t**2 * field(second)
