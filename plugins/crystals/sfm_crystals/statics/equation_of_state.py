"""Third-order Birch-Murnaghan equation of state."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm_crystals.constants import GPA


class EquationOfState(NamedTuple):
    """E(V) = c0 + c1 x + c2 x^2 + c3 x^3 with x = V^(-2/3), which is Birch-Murnaghan's form.

    F. Birch, Phys. Rev. 71, 809 (1947).

    Attributes:
        volume: V0, angstrom^3.
        energy: E0 = E(V0), eV.
        bulk_modulus: B0 = V d2E/dV2 at V0, GPa.
        derivative: B0' = dB/dP at V0.
        coefficients: (4,) c0 to c3.
    """

    volume: Float[Tensor, ""]
    energy: Float[Tensor, ""]
    bulk_modulus: Float[Tensor, ""]
    derivative: Float[Tensor, ""]
    coefficients: Float[Tensor, " 4"]

    def __call__(self, volume: Tensor) -> Tensor:
        """E(V), eV."""
        x = volume ** (-2 / 3)
        energy: Tensor = sum(c * x**k for k, c in enumerate(self.coefficients))
        return energy


def fit(volume: Float[Tensor, " T"], energy: Float[Tensor, " T"]) -> EquationOfState:
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
    width = (x.detach() - 1).abs().max()
    t = (x - 1) / width  # about -1 to 1, where powers are well conditioned
    middle = energy.detach().mean()  # what is fitted is small beside it
    powers = torch.stack([t**k for k in range(4)], dim=1)
    d = torch.linalg.lstsq(powers, (energy - middle).unsqueeze(1)).solution.squeeze(1)
    root = d[2] ** 2 - 3 * d[1] * d[3]
    # minimum of E(t): d1 + 2 d2 t + 3 d3 t^2 = 0 with positive curvature
    t0 = -d[1] / (d[2] + root.clamp(min=0).sqrt())
    low, high = t.detach().min(), t.detach().max()
    if not bool(root > 0) or not bool((low <= t0) & (t0 <= high)):
        raise InputError("equation of state: E(V) has no minimum inside the volumes given")
    x0 = 1 + width * t0
    v0 = (scale / x0) ** 1.5
    curvature = (2 * d[2] + 6 * d[3] * t0) / width**2  # d2E/dx2
    # with x ~ V^(-2/3) and dE/dx = 0: V d2E/dV2 = (4/9) x^2 E'' / V
    b0 = 4 / 9 * x0**2 * curvature / v0
    derivative = 4 + 4 * d[3] / width**3 * x0 / curvature
    energy0 = middle + d[0] + d[1] * t0 + d[2] * t0**2 + d[3] * t0**3
    e = [d[k] / width**k for k in range(4)]  # of (x - 1)^k
    c = [middle + e[0] - e[1] + e[2] - e[3], e[1] - 2 * e[2] + 3 * e[3], e[2] - 3 * e[3], e[3]]
    coefficients = torch.stack([c[k] * scale**k for k in range(4)])
    return EquationOfState(v0, energy0, b0 * GPA, derivative, coefficients)
