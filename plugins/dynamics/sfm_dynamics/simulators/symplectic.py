"""Symplectic steps of separable Hamiltonians H(q, p) = T(p) + V(q).

Leapfrog: kick, drift, kick; second order, time-reversible. Yoshida's composition of three leapfrog
steps is of fourth order: w1 = 1/(2 - 2^(1/3)), w0 = 1 - 2 w1. H. Yoshida, Phys. Lett. A 150, 262
(1990), doi:10.1016/0375-9601(90)90092-3.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Gradient = Callable[
    [Float[Tensor, "*states n"], Float[Tensor, "*states n"]], Float[Tensor, "*states n"]
]

_W1 = 1 / (2 - 2 ** (1 / 3))
COMPOSITIONS: dict[str, tuple[float, ...]] = {
    "leapfrog": (1.0,),
    "yoshida4": (_W1, 1 - 2 * _W1, _W1),
}


def step(
    name: str,
    by_q: Gradient,
    by_p: Gradient,
    q: Float[Tensor, "*states n"],
    p: Float[Tensor, "*states n"],
    h: float,
) -> tuple[Float[Tensor, "*states n"], Float[Tensor, "*states n"]]:
    """(q, p) after a step `h`, each (..., n).

    Args:
        name: `leapfrog` or `yoshida4`.
        by_q: dH/dq at (q, p); must not depend on p.
        by_p: dH/dp at (q, p); must not depend on q.
        q: positions. p: momenta.
        h: the step.
    """
    for weight in COMPOSITIONS[name]:
        p = p - 0.5 * weight * h * by_q(q, p)
        q = q + weight * h * by_p(q, p)
        p = p - 0.5 * weight * h * by_q(q, p)
    return q, p
