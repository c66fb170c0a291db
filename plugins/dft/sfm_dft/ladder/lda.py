"""The local-density approximation for the exponential interaction.

Exchange is exact for the uniform gas; correlation is the published fit to it. With
y = pi n / kappa and kappa = 1 / range,

    e_x = A kappa / (2 pi^2) [ln(1 + y^2) - 2 y arctan(y)],
    e_c = -A kappa y^2 / pi^2 / (2 - 1.00077 y^1/2 + 6.26099 y - 11.9041 y^3/2 + 9.62614 y^2
          - 1.48334 y^5/2 + pi kappa^2 / A y^3),   both in hartree per bohr.

Reference: Baker, Stoudenmire, Wagner, Burke, White, Phys. Rev. B 91, 235141 (2015), eqs. 17, 24.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_dft.ladder.grid import AMPLITUDE, RANGE

_FIT = (2.0, -1.00077, 6.26099, -11.9041, 9.62614, -1.48334)


class ExponentialLDA(nn.Module):
    """Exchange-correlation energy per length of the uniform gas with exponential repulsion.

    Args:
        amplitude: A, hartree. length: 1 / kappa, bohr. The fit of the correlation was made for
            the default values only.
    """

    interaction = "exponential"

    def __init__(self, *, amplitude: float = AMPLITUDE, length: float = RANGE) -> None:
        super().__init__()
        self.amplitude, self.kappa = amplitude, 1.0 / length

    def exchange(self, density: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """(...) hartree per bohr."""
        y = math.pi * density / self.kappa
        front = self.amplitude * self.kappa / (2.0 * math.pi**2)
        return front * (torch.log1p(y**2) - 2.0 * y * torch.arctan(y))

    def correlation(self, density: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """(...) hartree per bohr; zero where there is no density."""
        y = math.pi * density / self.kappa
        there = y > 1e-30
        y = torch.where(there, y, torch.ones_like(y))
        root = torch.sqrt(y)
        below = y**3 * math.pi * self.kappa**2 / self.amplitude
        for power, value in enumerate(_FIT):
            below = below + value * root**power
        e = -self.amplitude * self.kappa * y**2 / math.pi**2 / below
        return torch.where(there, e, torch.zeros_like(e))

    def forward(self, density: Float[Tensor, "B n"], dx: float) -> Float[Tensor, "B n"]:
        """(B, n) energy per length from the density (B, n); `dx` is not needed."""
        return self.exchange(density) + self.correlation(density)


class HartreeSelfInteraction(nn.Module):
    """Minus half the Hartree energy, (B, n): exact exchange of two electrons in one orbital.

    For one electron the factor is 1, not 1/2; `electrons` says which.
    """

    def __init__(self, repulsion: Tensor, electrons: int = 2) -> None:
        super().__init__()
        self.register_buffer("repulsion", repulsion)
        self.electrons = electrons

    repulsion: Tensor

    def forward(self, density: Float[Tensor, "B n"], dx: float) -> Float[Tensor, "B n"]:
        return -0.5 / self.electrons * density * (density @ self.repulsion) * dx
