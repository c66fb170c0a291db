"""Time integration of the vorticity equation, as plain functions of tensors.

    d omega/dt + u . grad omega = nu lap omega - alpha omega + curl f - curl div tau

on a periodic rectangle: pseudo-spectral in space with the 2/3 rule, ETDRK4 in time. The mean flow
U is carried along: dU/dt = -alpha U.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..stepping import etdrk4
from .grid import Grid
from .momentum_flux import Closure, Held, vorticity_tendency

Monitor = Callable[[int, Tensor], None]


def linear_operator(grid: Grid, viscosity: Tensor, drag: Tensor) -> Tensor:
    """-(nu k^2 + alpha), float64 (H, W//2+1), or (B, H, W//2+1) for parameters of shape (B,)."""
    ky, kx = grid.wavenumbers(device=viscosity.device)
    nu, alpha = (p.double().reshape(-1, 1, 1) for p in (viscosity, drag))
    linear = -(nu * (ky**2 + kx**2) + alpha)
    return linear.squeeze(0)


def to_spectrum(vorticity: Tensor, grid: Grid) -> Tensor:
    """(B, H, W) -> (B, H, W//2+1), without the mean and the modes that the 2/3 rule drops."""
    keep = grid.retained(device=vorticity.device).clone()
    keep[0, 0] = False
    return torch.fft.rfft2(vorticity) * keep


def to_field(omega_hat: Tensor, grid: Grid) -> Tensor:
    """(B, H, W//2+1) -> (B, H, W)."""
    return torch.fft.irfft2(omega_hat, s=grid.shape)


def integrate(
    omega_hat: Tensor,
    mean: Tensor,
    *,
    grid: Grid,
    viscosity: Tensor,
    drag: Tensor,
    forcing_hat: Tensor | None,
    dt: float,
    steps: int,
    closure: Closure | None = None,
    hold: bool = False,
    recompute: bool = True,
    monitor: Monitor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advance `steps` steps of size `dt`.

    Args:
        omega_hat: (B, H, W//2+1) complex64 or complex128, modes of the 2/3 rule only.
        mean: (B, 2), mean velocity.
        viscosity: nu >= 0, a number or (B,).
        drag: alpha >= 0, a number or (B,).
        forcing_hat: transform of curl f, (H, W//2+1) or (B, H, W//2+1); None for no force.
        closure: tau(velocity, spacing); enters as -div tau.
        hold: evaluate the closure once a step, not once a stage.
        recompute: keep one state per step for the backward pass and redo the step there.
        monitor: called with (steps done, omega_hat) after every step.

    Returns:
        omega_hat and mean at the end. Differentiable in everything that is a tensor.
    """
    real = omega_hat.real.dtype
    factors = etdrk4.coefficients(linear_operator(grid, viscosity, drag), dt, real)
    mean_decay = torch.exp(-drag.double() * dt).to(real).reshape(-1, 1)
    half_decay = torch.exp(-0.5 * drag.double() * dt).to(real).reshape(-1, 1)

    def advance(hat: Tensor, flow: Tensor, *c: Tensor) -> Tensor:
        # the mean flow at the time of a stage
        flows = {0.0: flow, 0.5: flow * half_decay, 1.0: flow * mean_decay}
        subgrid = Held(closure) if hold and closure is not None else closure

        def nonlinear(w: Tensor, fraction: float) -> Tensor:
            tendency = vorticity_tendency(w, flows[fraction], grid, subgrid)
            return tendency if forcing_hat is None else tendency + forcing_hat

        return etdrk4.step(hat, nonlinear, c)

    for done in range(1, steps + 1):
        if recompute and torch.is_grad_enabled():
            omega_hat = checkpoint(
                advance, omega_hat, mean, *factors, use_reentrant=False, preserve_rng_state=False
            )
        else:
            omega_hat = advance(omega_hat, mean, *factors)
        mean = mean * mean_decay
        if monitor is not None:
            monitor(done, omega_hat)
    return omega_hat, mean
