"""The Boys function F_n(x) = integral_0^1 t^(2n) exp(-x t^2) dt, and its derivative -F_(n+1)(x).

The highest order comes from a Taylor series about the nearest point of a table (steps of 1/16,
eight terms), beyond the table from its asymptotic form; all lower orders follow by the stable
downward recursion F_n = (2 x F_(n+1) + exp(-x)) / (2 n + 1). Relative error below 1e-14.

Reference: Helgaker, Joergensen, Olsen, Molecular Electronic-Structure Theory (2000), 9.8.

Dimensionless.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.autograd import Function

TERMS = 8
PER_UNIT = 16


def boys(x: Float[Tensor, "*shape"], order: int) -> Float[Tensor, " {order}+1 *shape"]:
    """F_0 to F_order of x >= 0, stacked in front: (n + 1, *shape) for order n, float64.

    Differentiable in x to any order, also at x = 0.
    """
    values: Tensor = _Boys.apply(x, order)
    return values


class _Boys(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.order = order
        return _evaluate(x, order)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return -(gradient * boys(x, ctx.order + 1)[1:]).sum(0), None


def _evaluate(x: Tensor, order: int) -> Tensor:
    end = 40 + 5 * order // 2  # beyond it the asymptotic form is exact in float64
    table = _table(order, end).to(x.device)
    near = x.clamp(max=end)
    index = (near * PER_UNIT + 0.5).long()
    step = index.to(x.dtype) / PER_UNIT - near
    rows = table[TERMS - 1][index]
    for k in range(TERMS - 2, -1, -1):
        rows = rows.mul_(step).add_(table[k][index])
    far = x > end
    if far.any():
        inverse = 1.0 / x[far]
        scale = 0.5 * math.gamma(order + 0.5)
        rows[far] = scale * inverse**order * inverse.sqrt()
    out = x.new_empty(order + 1, *x.shape)
    out[order] = rows
    if order:
        small, twice = torch.exp(-x), 2.0 * x
        for n in range(order - 1, -1, -1):
            torch.addcmul(small, twice, out[n + 1], out=out[n])
            out[n] /= 2 * n + 1
    return out


@cache
def _table(order: int, end: int) -> Tensor:
    """F_(order + k)(x_i) / k! at x_i = i / 16, (8, points); from the all-positive series."""
    x = torch.arange(end * PER_UNIT + 1, dtype=torch.float64) / PER_UNIT
    top = order + TERMS - 1
    term = torch.full_like(x, 1.0 / (2 * top + 1))
    total = term.clone()
    for i in range(1, 12 * end):
        term = term * (2.0 * x) / (2 * top + 2 * i + 1)
        total += term
        if float((term / total).max()) < 1e-18:
            break
    values = [total * torch.exp(-x)]
    for n in range(top - 1, order - 1, -1):
        values.append((2.0 * x * values[-1] + torch.exp(-x)) / (2 * n + 1))
    values.reverse()
    return torch.stack([value / math.factorial(k) for k, value in enumerate(values)])
