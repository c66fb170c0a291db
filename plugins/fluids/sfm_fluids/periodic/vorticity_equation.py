"""Time integration of the vorticity equation, as plain functions of tensors.

    d omega/dt + u . grad omega = nu lap omega - alpha omega + curl f - curl div tau

on a periodic rectangle: pseudo-spectral in space with the 2/3 rule, ETDRK4 in time. The mean flow
U is carried along: dU/dt = -alpha U.
ETDRK4: S. M. Cox and P. C. Matthews, J. Comput. Phys. 176, 430 (2002).

Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm.simulate.rollout import rollout
from sfm_fluids.periodic.nonlinear_term_2d import NonlinearTerm2D, decayed
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.momentum_flux_2d import Closure
from sfm_fluids.spectral.transforms_2d import columns, expand
from sfm_fluids.stepping import etdrk4
from sfm_fluids.stepping.exponential import ExponentialStep, paired
from sfm_fluids.stepping.stateless import Stateless

Monitor = Callable[[int, Complex[Tensor, "B H K"]], None]


def linear_operator(
    grid: Grid, viscosity: Float[Tensor, " ..."], drag: Float[Tensor, " ..."]
) -> Float[Tensor, "*B H K"]:
    """-(nu k^2 + alpha), float64 (H, W//2+1), or (B, H, W//2+1) for parameters of shape (B,)."""
    ky, kx = grid.wavenumbers(device=viscosity.device)
    nu, alpha = (p.double().reshape(-1, 1, 1) for p in (viscosity, drag))
    linear = -(nu * (ky**2 + kx**2) + alpha)
    return linear.squeeze(0)


def to_spectrum(vorticity: Float[Tensor, "*B H W"], grid: Grid) -> Complex[Tensor, "*B H K"]:
    """(B, H, W) -> (B, H, W//2+1), without the mean and the modes that the 2/3 rule drops."""
    keep = grid.dealias_mask(device=vorticity.device).clone()
    keep[0, 0] = False
    hat: Tensor = torch.fft.rfft2(vorticity) * keep
    return hat


def to_field(omega_hat: Complex[Tensor, "*B H K"], grid: Grid) -> Float[Tensor, "*B H W"]:
    """(B, H, W//2+1) -> (B, H, W)."""
    vorticity: Tensor = torch.fft.irfft2(omega_hat, s=grid.shape)
    return vorticity


def integrate(
    omega_hat: Complex[Tensor, "B H K"],
    mean: Float[Tensor, "B 2"],
    *,
    grid: Grid,
    viscosity: Float[Tensor, " ..."],
    drag: Float[Tensor, " ..."],
    forcing_hat: Complex[Tensor, "... H K"] | None,
    dt: float,
    steps: int,
    closure: Closure | None = None,
    hold: bool = False,
    recompute: bool = True,
    monitor: Monitor | None = None,
) -> tuple[Complex[Tensor, "B H K"], Float[Tensor, "B 2"]]:
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
    kept = columns(grid)
    linear = linear_operator(grid, viscosity, drag)[..., :kept].unsqueeze(-3)
    factors = [paired(f) for f in etdrk4.coefficients(linear, dt, real)]
    flow = NonlinearTerm2D(
        grid=grid,
        force=None if forcing_hat is None else forcing_hat[..., :kept],
        mean=mean,
        drag=drag.to(real),
        dt=dt,
        closure=None if closure is None else Stateless(closure),
        hold=hold,
    )
    term = flow.term()
    step = ExponentialStep(etdrk4.TABLEAU, term, len(factors), dt, 0.0, 0, pairs=True)

    def watch(done: int, modes: Tensor) -> None:
        if monitor is not None:
            monitor(done, expand(torch.view_as_complex(modes).squeeze(-3), grid))

    modes = torch.view_as_real(omega_hat[..., :kept].unsqueeze(-3).contiguous())
    tensors = (*factors, *term.tensors)
    end = rollout(step, modes, tensors, steps, recompute=recompute, monitor=watch)
    omega_hat = expand(torch.view_as_complex(end).squeeze(-3), grid)
    return omega_hat, decayed(mean, drag.to(mean), steps * dt)
