"""Exponential time differencing of fourth order for u' = L u + N(u) with a diagonal real L.

S. M. Cox and P. C. Matthews, J. Comput. Phys. 176, 430 (2002). The phi functions follow
A.-K. Kassam and L. N. Trefethen, SIAM J. Sci. Comput. 26, 1214 (2005) in purpose, but come from
their Taylor series near zero, so that they are differentiable in L.

The step is written as an increment: u + (expm1(L dt) u + ...). With coefficients made in float64
this keeps the float32 error of a long decay at rounding level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Coefficients(NamedTuple):
    """Factors of one step; each has the shape of L."""

    half_decay: Tensor  # expm1(L dt / 2)
    decay: Tensor  # expm1(L dt)
    half: Tensor  # dt/2 phi1(L dt / 2)
    first: Tensor  # weight of N(u)
    middle: Tensor  # weight of N(a) + N(b)
    last: Tensor  # weight of N(c)


def phi(order: int, z: Tensor) -> Tensor:
    """phi_n(z) = (exp(z) - sum_{m<n} z^m / m!) / z^n for n = 1, 2, 3; exact and smooth at 0.

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


def coefficients(linear: Tensor, dt: float, dtype: torch.dtype) -> Coefficients:
    """Coefficients of a step of size `dt`, made in float64 and cast to `dtype`.

    linear: float64, any shape. Differentiable in `linear`.
    """
    z = linear.double() * dt
    p1, p2, p3 = (phi(n, z) for n in (1, 2, 3))
    made = (
        torch.expm1(z / 2),
        torch.expm1(z),
        0.5 * dt * phi(1, z / 2),
        dt * (p1 - 3 * p2 + 4 * p3),
        dt * 2 * (p2 - 2 * p3),
        dt * (4 * p3 - p2),
    )
    return Coefficients(*(c.to(dtype) for c in made))


def step(
    u: Tensor, nonlinear: Callable[[Tensor, float], Tensor], coefficients: Sequence[Tensor]
) -> Tensor:
    """One step: u(t) -> u(t + dt). `nonlinear(u, c)` is evaluated four times, at t + c dt."""
    c = Coefficients(*coefficients)
    n_u = nonlinear(u, 0.0)
    a = u + (c.half_decay * u + c.half * n_u)
    n_a = nonlinear(a, 0.5)
    b = u + (c.half_decay * u + c.half * n_a)
    n_b = nonlinear(b, 0.5)
    e = a + (c.half_decay * a + c.half * (2 * n_b - n_u))
    n_c = nonlinear(e, 1.0)
    return u + (c.decay * u + c.first * n_u + c.middle * (n_a + n_b) + c.last * n_c)
