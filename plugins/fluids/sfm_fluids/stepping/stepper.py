"""A time stepper for u' = L u + N(u, t) with a diagonal L, and the table of those there are.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm.errors import InputError, did_you_mean
from sfm_fluids.stepping import cnrk3, etdrk2, etdrk4, ifrk4
from sfm_fluids.stepping.tableau import Tableau

Nonlinear = Callable[[Inexact[Tensor, "*shape"], float], Inexact[Tensor, "*shape"]]


@dataclass(frozen=True)
class Stepper:
    """One method.

    Attributes:
        name: value of the setting `stepper`.
        order: order of accuracy in dt.
        coefficients: (L, dt, real dtype) -> factors of one step, made in float64 and cast;
            differentiable in L.
        tableau: how a step is made of them.
        summary: one line, with the source.
    """

    name: str
    order: int
    coefficients: Callable[
        [Inexact[Tensor, " ..."], float, torch.dtype], Sequence[Inexact[Tensor, " ..."]]
    ]
    tableau: Tableau
    summary: str

    def step(
        self,
        u: Inexact[Tensor, "*shape"],
        nonlinear: Nonlinear,
        factors: Sequence[Inexact[Tensor, " ..."]],
    ) -> Inexact[Tensor, "*shape"]:
        """u one step later. `nonlinear(u, c)` is N at the time t + c dt of a stage."""
        return self.tableau.step(u, nonlinear, factors)


STEPPERS = {
    s.name: s
    for s in (
        Stepper(
            "etdrk2",
            2,
            etdrk2.coefficients,
            etdrk2.TABLEAU,
            "exponential time differencing, Cox and Matthews 2002",
        ),
        Stepper(
            "etdrk4",
            4,
            etdrk4.coefficients,
            etdrk4.TABLEAU,
            "exponential time differencing, Cox and Matthews 2002",
        ),
        Stepper(
            "ifrk4",
            4,
            ifrk4.coefficients,
            ifrk4.TABLEAU,
            "integrating factor and classical Runge-Kutta, Lawson 1967",
        ),
        Stepper(
            "cnrk3",
            2,
            cnrk3.coefficients,
            cnrk3.TABLEAU,
            "Crank-Nicolson (second order) and Runge-Kutta, Williamson 1980",
        ),
    )
}


def stepper(name: str) -> Stepper:
    """The stepper called `name`.

    Raises:
        InputError: there is none.
    """
    if name not in STEPPERS:
        raise InputError(
            f"no stepper '{name}' (known: {', '.join(STEPPERS)}).{did_you_mean(name, STEPPERS)}"
        )
    return STEPPERS[name]
