"""The classical Runge-Kutta method of fourth order on e^{-L t} u: an integrating factor.

J. D. Lawson, SIAM J. Numer. Anal. 4, 372 (1967). With z = L dt:

    a = e^{z/2} (u + dt/2 N(u))       b = e^{z/2} u + dt/2 N(a)     c = e^z u + dt e^{z/2} N(b)
    u' = e^z u + dt/6 (e^z N(u) + 2 e^{z/2} (N(a) + N(b)) + N(c))

Fourth order for |L dt| of order one; where N balances a large L (a forced, strongly damped mode),
the error constant grows with |L dt|: prefer `etdrk4` there.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm_fluids.stepping.phi import cast, double
from sfm_fluids.stepping.tableau import Row, Tableau


class Coefficients(NamedTuple):
    """Factors of one step; each has the shape of L."""

    half_decay: Tensor  # expm1(L dt / 2)
    decay: Tensor  # expm1(L dt)
    early: Tensor  # dt/2 e^{z/2}: weight of N(u) in a
    flat: Tensor  # dt/2: weight of N(a) in b
    late: Tensor  # dt e^{z/2}: weight of N(b) in c
    first: Tensor  # dt/6 e^z
    middle: Tensor  # dt/3 e^{z/2}
    last: Tensor  # dt/6


TABLEAU = Tableau(
    nodes=(0.0, 0.5, 0.5, 1.0),
    rows=(Row(0, (2,)), Row(0, (None, 3)), Row(1, (None, None, 4)), Row(1, (5, 6, 6, 7))),
)
step = TABLEAU.step


def coefficients(linear: Inexact[Tensor, " ..."], dt: float, dtype: torch.dtype) -> Coefficients:
    """Coefficients, of the shape of L, of a step of size `dt`; differentiable in L.

    Made in float64 and cast.
    """
    z = double(linear) * dt
    half, one = torch.exp(z / 2), torch.ones_like(z)
    factors = (
        torch.expm1(z / 2),
        torch.expm1(z),
        dt / 2 * half,
        dt / 2 * one,
        dt * half,
        dt / 6 * torch.exp(z),
        dt / 3 * half,
        dt / 6 * one,
    )
    return Coefficients(*(cast(c, dtype) for c in factors))
