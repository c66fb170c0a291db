"""How well a simulation was resolved: energy budget, spectrum, divergence, equation residual.

All measures of quality are dimensionless but for the rms velocity, which has the data's unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError
from sfm_fluids.flows.members import Member
from sfm_fluids.periodic import vorticity_equation as solver
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.momentum_flux_2d import vorticity_tendency

# d/dt at the last of five equally spaced times, fourth order
BACKWARD = (1 / 4, -4 / 3, 3.0, -4.0, 25 / 12)


@dataclass(frozen=True)
class Quality:
    """How well one member was resolved.

    Attributes:
        member: which trajectory.
        rms_velocity: sqrt(2 E) after the spin-up.
        kmax_dissipation_length: largest kept wavenumber times l_d = (nu^3 / eta)^(1/6), eta the
            largest enstrophy dissipation of the sampled time (R. H. Kraichnan, Phys. Fluids 10,
            1417, 1967).
        spectrum_tail: E(k max) / max E at the end.
        budget_residual: |change of E - integral of (power - dissipation)| over the integral of the
            dissipation.
        max_divergence: largest |div F[u]| of the snapshots.
        courant: largest speed dt / dx of the snapshots.
        equation_residual: largest over the snapshots of |d F[u]/dt - r| / |d F[u]/dt| (root mean
            square), with the time derivative from differences of five consecutive steps and r the
            coarse solver's own right-hand side of the stored velocity, stress and filtered force.
    """

    member: Member
    rms_velocity: float
    kmax_dissipation_length: float
    spectrum_tail: float
    budget_residual: float
    max_divergence: float
    courant: float
    equation_residual: float = float("nan")


class Budget:
    """Per-step energy, injection and dissipation of each member, from the half-spectrum."""

    def __init__(
        self,
        viscosity: float,
        dt: float,
        members: Sequence[Member],
        grid: Grid,
        forcing_hat: Tensor,
    ) -> None:
        ky, kx = grid.wavenumbers()
        self.k2 = ky**2 + kx**2
        self.inverse = torch.where(self.k2 > 0, 1 / self.k2.clamp(min=1e-300), 0.0)
        weight = torch.full_like(kx, 2.0)
        weight[:, 0] = 1.0
        weight[:, -1] = 1.0
        self.weight = weight / grid.height**2 / grid.width**2
        self.forcing, self.viscosity, self.dt = forcing_hat, viscosity, dt
        self.drag = torch.tensor([m.drag for m in members], dtype=torch.float64)
        self.stride = max(1, int(0.0124 / dt))
        self.rows: list[Tensor] = []

    def __call__(self, done: int, hat: Tensor) -> None:
        if done % self.stride:
            return
        hat = hat.to(torch.complex128)
        square = hat.abs().square() * self.weight
        energy = 0.5 * (square * self.inverse).sum((-2, -1))
        enstrophy = 0.5 * square.sum((-2, -1))
        palinstrophy = 0.5 * (square * self.k2).sum((-2, -1))
        power = ((self.forcing.conj() * hat).real * self.weight * self.inverse).sum((-2, -1))
        loss = 2 * self.viscosity * enstrophy + 2 * self.drag * energy
        self.rows.append(torch.stack((energy, power, loss, palinstrophy)))
        if not torch.isfinite(energy).all():
            raise RunError(f"the flow at viscosity {self.viscosity} blew up: reduce dt")

    def residual(self) -> Float[Tensor, " B"]:
        """(B,) |change of E - integral of (power - loss)| / integral of loss; Simpson's rule."""
        rows = torch.stack(self.rows)
        if len(rows) % 2 == 0:
            rows = rows[:-1]
        weight = torch.full((len(rows), 1), 2.0, dtype=torch.float64)
        weight[1::2] = 4.0
        weight[0] = weight[-1] = 1.0
        weight = weight * self.dt * self.stride / 3
        gained = (weight * (rows[:, 1] - rows[:, 2])).sum(0)
        change = rows[-1, 0] - rows[0, 0]
        return (change - gained).abs() / (weight * rows[:, 2]).sum(0)


def equation_residual(
    recent: Sequence[Float[Tensor, "B H W"]],
    dt: float,
    stress: Float[Tensor, "B 2 2 H W"],
    forcing: Float[Tensor, "B H W"],
    viscosity: Float[Tensor, " ..."],
    drag: Float[Tensor, " B"],
    grid: Grid,
) -> Float[Tensor, " B"]:
    """(B,): how far filtered flows are from the coarse equation, relative to their rate of change.

    Args:
        recent: filtered vorticity (B, H, W) at the last five time steps, oldest first.
        dt: the time step.
        stress: subgrid stress (B, 2, 2, H, W) at the last of them.
        forcing: filtered curl of the force (B, H, W).
        viscosity: nu.
        drag: alpha (B,).
        grid: the coarse grid.
    """
    rate = sum(w * omega for w, omega in zip(BACKWARD, recent, strict=True)) / dt
    rate_hat = solver.to_spectrum(torch.as_tensor(rate), grid)
    hat = solver.to_spectrum(recent[-1], grid)
    mean = torch.zeros(len(hat), 2, dtype=torch.float64)
    right = vorticity_tendency(hat, mean, grid, lambda velocity, spacing: stress)
    right = right + solver.linear_operator(grid, viscosity, drag) * hat
    right = right + solver.to_spectrum(forcing, grid)
    ky, kx = grid.wavenumbers()
    k = (ky**2 + kx**2).sqrt().clamp(min=1e-300)
    weight = torch.full_like(kx, 2.0)
    weight[:, 0] = weight[:, -1] = 1.0

    def size(coefficients: Tensor) -> Tensor:
        return (weight * (coefficients / k).abs().square()).sum((-2, -1)).sqrt()

    return size(rate_hat - right) / size(rate_hat)
