"""Smagorinsky's eddy viscosity. Any consistent system of units."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from sfm_fluids.closures.calculus import dimensions, magnitude, strain_rate, unpacked


class Smagorinsky(nn.Module):
    """Eddy viscosity: tau = -2 (C h)^2 |S| S with |S| = sqrt(2 S_ij S_ij).

    velocity (B, 2, H, W), spacing -> tau (B, 2, 2, H, W), or in three dimensions
    (B, 3, D, H, W) -> (B, 3, 3, D, H, W). Cells are square or cubic.

    Args:
        constant: C times the ratio of filter width to spacing h; 0.1 to 0.2 are usual, and
            `lilly_constant` times 1.5 is the theory for a 2/3-dealiased solver. May be a tensor
            that requires a gradient, of shape () or (B,).

    J. Smagorinsky, Mon. Weather Rev. 91, 99 (1963).
    """

    def __init__(self, constant: float | Tensor = 0.17) -> None:
        super().__init__()
        self.constant = constant

    def forward(
        self, velocity: Float[Tensor, " ..."], spacing: float
    ) -> Float[Tensor, "*B 2 2 H W"] | Float[Tensor, "*B 3 3 D H W"]:
        n = dimensions(velocity)
        strain = strain_rate(velocity, spacing)
        viscosity = per_flow(self.constant, n) ** 2 * spacing**2 * magnitude(strain, n)
        return unpacked(-2 * viscosity * strain, n)


def per_flow(constant: float | Float[Tensor, "*B"], n: int) -> float | Float[Tensor, " ..."]:
    """A number, or one number per flow (B,) for packed stresses (B, pairs, *grid)."""
    if isinstance(constant, Tensor) and constant.ndim:
        return constant.reshape(*constant.shape, *([1] * (n + 1)))
    return constant


def lilly_constant(kolmogorov: float = 1.5) -> float:
    """C = (2 / (3 C_K))^(3/4) / pi, per filter width Delta = pi / k_c, in three dimensions.

    The constant with which the eddy viscosity of a spectrum C_K eps^(2/3) k^(-5/3) that ends at
    k_c drains the energy eps: 0.173 for C_K = 1.5. D. K. Lilly, NCAR manuscript 123 (1966).
    """
    constant: float = (2 / (3 * kolmogorov)) ** 0.75 / math.pi
    return constant
