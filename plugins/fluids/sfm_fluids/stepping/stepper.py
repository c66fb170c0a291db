"""A time stepper for u' = L u + N(u, t) with a diagonal L, and the table of those there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfm.errors import InputError, did_you_mean

from . import etdrk4

Nonlinear = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Stepper:
    """One method.

    Attributes:
        name: value of the setting `stepper`.
        order: order of accuracy in dt.
        coefficients: (L float64, dt, real dtype) -> factors of one step, made in float64 and cast;
            differentiable in L.
        step: (u, N, factors) -> u one step later. N(u, c) is the nonlinear term at the time
            t + c dt of a stage.
        summary: one line, with the source.
    """

    name: str
    order: int
    coefficients: Callable[[Tensor, float, torch.dtype], Sequence[Tensor]]
    step: Callable[[Tensor, Nonlinear, Sequence[Tensor]], Tensor]
    summary: str


STEPPERS = {
    s.name: s
    for s in (
        Stepper(
            "etdrk4",
            4,
            etdrk4.coefficients,
            etdrk4.step,
            "exponential time differencing, Cox and Matthews 2002",
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
