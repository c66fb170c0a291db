"""The advection term of two-dimensional flow in momentum-flux form: four transforms a call.

With the stress sigma = u u + tau the vorticity obeys
    d omega/dt = -[(dxx - dyy) sigma_xy + dxy (sigma_yy - sigma_xx)] + ...
so two inverse transforms (u, v) and two forward ones (sigma_xy, sigma_yy - sigma_xx) are enough
where the usual form needs five, and a subgrid stress tau costs no transform at all. Derived here,
after C. Basdevant, J. Comput. Phys. 50, 209 (1983), who saves transforms in three dimensions.

Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm_fluids.spectral.grid_2d import Grid, velocity_factors

Closure = Callable[[Float[Tensor, "*B 2 H W"], float], Float[Tensor, "*B 2 2 H W"]]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def flux_factors(grid: Grid, dtype: torch.dtype, device: str) -> Float[Tensor, "2 H K"]:
    """(2, H, W//2+1) real factors of sigma_xy and sigma_yy - sigma_xx, 2/3 rule included."""
    ky, kx = grid.wavenumbers(device=device)
    factors = torch.stack((kx**2 - ky**2, kx * ky)) * grid.dealias_mask(device=device)
    return factors.to(dtype)


def vorticity_tendency(
    omega_hat: Complex[Tensor, "*B H K"],
    mean: Float[Tensor, "*B 2"],
    grid: Grid,
    closure: Closure | None = None,
) -> Complex[Tensor, "*B H K"]:
    """Advection and subgrid part of d omega_hat / dt.

    omega_hat (B, H, W//2+1) complex, mean flow (B, 2); closure(velocity (B, 2, H, W), spacing)
    gives tau (B, 2, 2, H, W), which enters the momentum equation as -div tau.
    """
    real = omega_hat.real.dtype
    device = str(omega_hat.device)
    hat = velocity_factors(grid, real, device) * omega_hat.unsqueeze(-3)
    velocity = torch.fft.irfft2(hat, s=grid.shape) + mean[..., None, None]
    u, v = velocity.unbind(-3)
    flux = torch.stack((u * v, (v - u) * (v + u)), dim=-3)
    if closure is not None:
        tau = closure(velocity, grid.isotropic_spacing)
        flux = flux + torch.stack(
            (
                0.5 * (tau[..., 0, 1, :, :] + tau[..., 1, 0, :, :]),
                tau[..., 1, 1, :, :] - tau[..., 0, 0, :, :],
            ),
            dim=-3,
        )
    tendency: Tensor = (flux_factors(grid, real, device) * torch.fft.rfft2(flux)).sum(dim=-3)
    return tendency
