"""The embedded pair of Bogacki and Shampine, orders 3 and 2, on e^{-L t} u.

P. Bogacki and L. F. Shampine, Appl. Math. Lett. 2, 321 (1989), with an integrating factor (Lawson
1967). With z = L dt:

    a = e^{z/2} (u + dt/2 N(u))        b = e^{3z/4} u + 3/4 dt e^{z/4} N(a)
    u' = e^z u + dt (2/9 e^z N(u) + 1/3 e^{z/2} N(a) + 4/9 e^{z/4} N(b))
    error = dt (-5/72 e^z N(u) + 1/12 e^{z/2} N(a) + 1/9 e^{z/4} N(b) - 1/8 N(u'))

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm_fluids.stepping.phi import cast, double
from sfm_fluids.stepping.tableau import Row, Tableau

ORDER = 3


class Coefficients(NamedTuple):
    """Factors of one step; each has the shape of L."""

    half_decay: Tensor  # expm1(L dt / 2)
    most_decay: Tensor  # expm1(3 L dt / 4)
    decay: Tensor  # expm1(L dt)
    early: Tensor  # dt/2 e^{z/2}: weight of N(u) in a
    late: Tensor  # 3/4 dt e^{z/4}: weight of N(a) in b
    first: Tensor  # weights of N(u), N(a), N(b)
    middle: Tensor
    last: Tensor


TABLEAU = Tableau(nodes=(0.0, 0.5, 0.75), rows=(Row(0, (3,)), Row(1, (None, 4)), Row(2, (5, 6, 7))))


def coefficients(linear: Inexact[Tensor, " ..."], dt: float, dtype: torch.dtype) -> Coefficients:
    """Coefficients, of the shape of L, of a step of size `dt`; differentiable in L.

    Made in float64 and cast.
    """
    z = double(linear) * dt
    quarter, half = torch.exp(z / 4), torch.exp(z / 2)
    factors = (
        torch.expm1(z / 2),
        torch.expm1(0.75 * z),
        torch.expm1(z),
        dt / 2 * half,
        0.75 * dt * quarter,
        2 / 9 * dt * torch.exp(z),
        dt / 3 * half,
        4 / 9 * dt * quarter,
    )
    return Coefficients(*(cast(c, dtype) for c in factors))


def step_with_error(
    u: Inexact[Tensor, "*shape"],
    nonlinear: Callable[[Inexact[Tensor, " ..."], float], Inexact[Tensor, " ..."]],
    factors: Sequence[Inexact[Tensor, " ..."]],
    dt: float,
    first: Inexact[Tensor, "*shape"] | None = None,
) -> tuple[Inexact[Tensor, "*shape"], Inexact[Tensor, "*shape"], Inexact[Tensor, "*shape"]]:
    """(u one step later, error estimate, N there); `first` is N(u) if it is known already."""
    c = Coefficients(*factors)
    seen: list[Tensor] = []

    def recorded(w: Tensor, node: float) -> Tensor:
        known = first if node == 0.0 else None
        seen.append(nonlinear(w, node) if known is None else known)
        return seen[-1]

    end = TABLEAU.step(u, recorded, factors)
    last = nonlinear(end, 1.0)
    error = c.first * seen[0] * (-5 / 16) + c.middle * seen[1] / 4 + c.last * seen[2] / 4
    return end, error - dt / 8 * last, last
