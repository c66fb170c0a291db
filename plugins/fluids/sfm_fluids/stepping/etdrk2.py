"""Exponential time differencing of second order for u' = L u + N(u) with a diagonal L.

S. M. Cox and P. C. Matthews, J. Comput. Phys. 176, 430 (2002), their eq. 22, z = L dt:

    a = e^z u + dt phi_1(z) N(u),    u' = a + dt phi_2(z) (N(a) - N(u))
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

    decay: Tensor  # expm1(L dt)
    whole: Tensor  # dt phi1: weight of N(u) in a
    first: Tensor  # dt (phi1 - phi2): weight of N(u)
    last: Tensor  # dt phi2: weight of N(a)


TABLEAU = Tableau(nodes=(0.0, 1.0), rows=(Row(0, (1,)), Row(0, (2, 3))))
step = TABLEAU.step


def coefficients(linear: Inexact[Tensor, " ..."], dt: float, dtype: torch.dtype) -> Coefficients:
    """Coefficients, of the shape of L, of a step of size `dt`; differentiable in L.

    Made in float64 and cast.
    """
    z = double(linear) * dt
    p1, p2 = phi(1, z), phi(2, z)
    factors = (torch.expm1(z), dt * p1, dt * (p1 - p2), dt * p2)
    return Coefficients(*(cast(c, dtype) for c in factors))
