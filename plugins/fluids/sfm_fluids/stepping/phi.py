"""The phi functions of exponential integrators, exact near zero and smooth everywhere.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Inexact
from torch import Tensor


def phi(order: int, z: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
    """phi_n(z) = (exp(z) - sum_{m<n} z^m / m!) / z^n for n = 1, 2, 3; exact and smooth at 0.

    They follow A.-K. Kassam and L. N. Trefethen, SIAM J. Sci. Comput. 26, 1214 (2005) in purpose,
    but come from their Taylor series near zero, so that they are differentiable in z.

    z must be float64: the closed form cancels n * log10(1/|z|) digits, so |z| < 1 takes the series.
    """
    small = z.abs() < 1.0
    near = torch.where(small, z, torch.zeros_like(z))
    far = torch.where(small, torch.ones_like(z), z)
    series = torch.zeros_like(z)
    for m in range(17, -1, -1):
        series = series * near + 1.0 / math.factorial(m + order)
    rest = torch.expm1(far)
    for m in range(1, order):
        rest = rest - far**m / math.factorial(m)
    return torch.where(small, series, rest / far**order)


def cast(factor: Inexact[Tensor, "*shape"], dtype: torch.dtype) -> Inexact[Tensor, "*shape"]:
    """A coefficient of any shape, made in float64 (or complex128), in `dtype` (or its complex)."""
    return factor.to(dtype.to_complex() if factor.is_complex() else dtype)


def double(linear: Inexact[Tensor, "*shape"]) -> Inexact[Tensor, "*shape"]:
    """L, of any shape, in float64 or complex128."""
    return linear if linear.is_complex() else linear.double()
