"""Third-order Birch-Murnaghan equation of state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sfm.errors import InputError
from sfm_crystals.constants import GPA


class EquationOfState(NamedTuple):
    """E(V) = c0 + c1 x + c2 x^2 + c3 x^3 with x = V^(-2/3), which is Birch-Murnaghan's form.

    Attributes:
        volume: V0, angstrom^3.
        energy: E0 = E(V0), eV.
        bulk_modulus: B0 = V d2E/dV2 at V0, GPa.
        derivative: B0' = dB/dP at V0.
        coefficients: (4,) c0 to c3.
    """

    volume: Tensor
    energy: Tensor
    bulk_modulus: Tensor
    derivative: Tensor
    coefficients: Tensor

    def __call__(self, volume: Tensor) -> Tensor:
        """E(V), eV."""
        x = volume ** (-2 / 3)
        energy: Tensor = sum(c * x**k for k, c in enumerate(self.coefficients))
        return energy


def fit(volume: Tensor, energy: Tensor) -> EquationOfState:
    """Least-squares fit; differentiable in the energies. F. Birch, Phys. Rev. 71, 809 (1947).

    Args:
        volume: (T,) angstrom^3, at least 4 different ones.
        energy: (T,) eV.

    Raises:
        InputError: fewer than 4 points, or no minimum between the smallest and largest volume.
    """
    if len(volume) < 4:
        raise InputError(f"equation of state: {len(volume)} points, needs at least 4")
    scale = volume.detach().mean() ** (2 / 3)
    x = scale * volume ** (-2 / 3)
    powers = torch.stack([x**k for k in range(4)], dim=1)
    middle = energy.detach().mean()  # what is fitted is small beside it
    c = torch.linalg.lstsq(powers, (energy - middle).unsqueeze(1)).solution.squeeze(1)
    root = c[2] ** 2 - 3 * c[1] * c[3]
    # minimum of E(x): c1 + 2 c2 x + 3 c3 x^2 = 0 with positive curvature
    x0 = -c[1] / (c[2] + root.clamp(min=0).sqrt())
    low, high = x.detach().min(), x.detach().max()
    if not bool(root > 0) or not bool((low <= x0) & (x0 <= high)):
        raise InputError("equation of state: E(V) has no minimum inside the volumes given")
    v0 = (scale / x0) ** 1.5
    curvature = 2 * c[2] + 6 * c[3] * x0  # d2E/dx2
    # with x ~ V^(-2/3) and dE/dx = 0: V d2E/dV2 = (4/9) x^2 E'' / V
    b0 = 4 / 9 * x0**2 * curvature / v0
    derivative = 4 + 4 / 3 * c[3] * 3 * x0 / curvature
    c = torch.cat([c[:1] + middle, c[1:]])
    energy0 = c[0] + c[1] * x0 + c[2] * x0**2 + c[3] * x0**3
    coefficients = torch.stack([c[k] * scale**k for k in range(4)])
    return EquationOfState(v0, energy0, b0 * GPA, derivative, coefficients)
