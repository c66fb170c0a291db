"""Classical subgrid closures: modules velocity (B, 2, H, W), spacing -> stress (B, 2, 2, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..periodic.grid import Grid, velocity_gradient


def grid_of(velocity: Tensor, spacing: float) -> Grid:
    """The periodic grid of square cells that a velocity (..., 2, H, W) lives on."""
    height, width = velocity.shape[-2:]
    return Grid(height, width, height * spacing, width * spacing)


class Smagorinsky(nn.Module):
    """Eddy viscosity: tau = -2 (C h)^2 |S| S with |S| = sqrt(2 S_ij S_ij).

    Args:
        constant: C times the ratio of filter width to spacing h; 0.1 to 0.2 are usual. May be a
            tensor that requires a gradient.

    J. Smagorinsky, Mon. Weather Rev. 91, 99 (1963).
    """

    def __init__(self, constant: float | Tensor = 0.17) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, velocity: Tensor, spacing: float) -> Tensor:
        gradient = velocity_gradient(velocity, grid_of(velocity, spacing))
        strain = 0.5 * (gradient + gradient.transpose(-3, -4))
        tiny = torch.finfo(velocity.dtype).tiny
        norm = torch.sqrt(2 * strain.square().sum((-3, -4), keepdim=True) + tiny)
        return -2 * (self.constant * spacing) ** 2 * norm * strain


class GradientModel(nn.Module):
    """Clark's gradient model: tau = Delta^2/12 G G^T, G_ij = du_i/dx_j, Delta = ratio * h.

    The leading term of the exact stress of a Gaussian filter. Correlates well with the exact
    stress a priori, and is unstable a posteriori where it scatters energy back.

    Args:
        ratio: filter width over grid spacing; 3 in the bundled data.

    R. A. Clark, J. H. Ferziger and W. C. Reynolds, J. Fluid Mech. 91, 1 (1979).
    """

    def __init__(self, ratio: float = 3.0) -> None:
        super().__init__()
        self.ratio = ratio

    def forward(self, velocity: Tensor, spacing: float) -> Tensor:
        gradient = velocity_gradient(velocity, grid_of(velocity, spacing))
        product = torch.einsum("...ikyx,...jkyx->...ijyx", gradient, gradient)
        return (self.ratio * spacing) ** 2 / 12 * product


def subgrid_dissipation(velocity: Tensor, stress: Tensor, spacing: float) -> Tensor:
    """Energy flux to the subgrid scales, -tau_ij S_ij, (..., H, W). Positive: forward transfer."""
    gradient = velocity_gradient(velocity, grid_of(velocity, spacing))
    return -(stress * gradient).sum((-3, -4))
