"""Explicit Runge-Kutta steps of fixed size: the method is a table, the algorithm is written once.

    k_i = f(x + h sum_j a_ij k_j),    x(t + h) = x(t) + h sum_i b_i k_i

for autonomous systems. Adaptive steps are torchdiffeq's (`sfm_dynamics.simulators.adaptive`).
E. Hairer, S. P. Norsett and G. Wanner, Solving Ordinary Differential Equations I (1993), II.1.

States, rates and times in the system's own units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

Field = Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]]


@dataclass(frozen=True)
class Tableau:
    """Coefficients of an explicit method.

    Attributes:
        order: of accuracy.
        a: row i holds a_ij for j < i; the first stage has no row.
        b: weights.
        citation: where it is from.
    """

    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    citation: str


EULER = Tableau(1, (), (1.0,), "Euler (1768)")
MIDPOINT = Tableau(2, ((0.5,),), (0.0, 1.0), "Runge (1895), doi:10.1007/BF01446807")
RK4 = Tableau(
    4,
    ((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
    (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    "Kutta (1901), Z. Math. Phys. 46, 435",
)
RK5 = Tableau(
    5,
    (
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    "Dormand and Prince (1980), doi:10.1016/0771-050X(80)90013-3",
)
TABLEAUS = {"euler": EULER, "midpoint": MIDPOINT, "rk4": RK4, "rk5": RK5}


def step(
    table: Tableau, field: Field, x: Float[Tensor, "*states d"], h: float | Float[Tensor, " ..."]
) -> Float[Tensor, "*states d"]:
    """The state (..., d) after a step `h`, which is a number or broadcasts against it."""
    stages = [field(x)]
    for row in table.a:
        stages.append(field(x + h * _combined(row, stages)))
    return x + h * _combined(table.b, stages)


def _combined(weights: tuple[float, ...], stages: list[Tensor]) -> Tensor:
    terms = [w * k for w, k in zip(weights, stages, strict=True) if w]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
