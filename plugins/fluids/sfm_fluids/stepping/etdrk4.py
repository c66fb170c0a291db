"""Exponential time differencing of fourth order for u' = L u + N(u) with a diagonal L.

S. M. Cox and P. C. Matthews, J. Comput. Phys. 176, 430 (2002), their eqs. 26-29:

    a = e^{z/2} u + h N(u)              b = e^{z/2} u + h N(a)
    c = e^{z/2} a + h (2 N(b) - N(u))   h = dt/2 phi_1(z/2), z = L dt
    u' = e^z u + first N(u) + middle (N(a) + N(b)) + last N(c)

with `a` put into `c`, and every stage written as an increment of u.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm_fluids.stepping.phi import cast, double, phi
from sfm_fluids.stepping.tableau import Row, Tableau


class Coefficients(NamedTuple):
    """Factors of one step; each has the shape of L."""

    half_decay: Tensor  # expm1(L dt / 2)
    decay: Tensor  # expm1(L dt)
    half: Tensor  # dt/2 phi1(L dt / 2)
    mixed: Tensor  # (half_decay + 1) half - half: weight of N(u) in c
    twice: Tensor  # 2 half
    first: Tensor  # weight of N(u)
    middle: Tensor  # weight of N(a) and of N(b)
    last: Tensor  # weight of N(c)


TABLEAU = Tableau(
    nodes=(0.0, 0.5, 0.5, 1.0),
    rows=(Row(0, (2,)), Row(0, (None, 2)), Row(1, (3, None, 4)), Row(1, (5, 6, 6, 7))),
)
step = TABLEAU.step


def coefficients(linear: Inexact[Tensor, " ..."], dt: float, dtype: torch.dtype) -> Coefficients:
    """Coefficients of a step of size `dt`, made in float64 and cast to `dtype`.

    linear: any shape. Differentiable in `linear`.
    """
    z = double(linear) * dt
    p1, p2, p3 = (phi(n, z) for n in (1, 2, 3))
    half, half_decay = 0.5 * dt * phi(1, z / 2), torch.expm1(z / 2)
    factors = (
        half_decay,
        torch.expm1(z),
        half,
        half_decay * half,
        2 * half,
        dt * (p1 - 3 * p2 + 4 * p3),
        dt * 2 * (p2 - 2 * p3),
        dt * (4 * p3 - p2),
    )
    return Coefficients(*(cast(c, dtype) for c in factors))
