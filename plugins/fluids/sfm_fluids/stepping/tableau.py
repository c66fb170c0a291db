"""Explicit exponential Runge-Kutta steps as tables; the step and its adjoint are written once.

Every method here has the form

    U_0 = u,    U_{i+1} = u + (A_i u + sum_{j<=i} B_ij N(U_j)),    the last U is the result,

with diagonal factors A_i and B_ij that depend on L dt alone. The increment in brackets is added
last: with factors made in float64 this keeps the float32 error of a long decay at rounding level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .functional import traced

Totals = Sequence[Tensor | None]
Pull = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """How one stage is made: positions of its factors among the coefficients.

    Attributes:
        linear: of A.
        weights: of B for each earlier N; None for zero.
    """

    linear: int
    weights: tuple[int | None, ...]


@dataclass(frozen=True)
class Tableau:
    """A method: the times of its stages in units of dt, and how each next stage is made."""

    nodes: tuple[float, ...]
    rows: tuple[Row, ...]

    def step(
        self, u: Tensor, nonlinear: Callable[[Tensor, float], Tensor], factors: Sequence[Tensor]
    ) -> Tensor:
        """u(t) -> u(t + dt). `nonlinear(u, c)` is evaluated once per node, at t + c dt."""
        stage, values = u, []
        for node, row in zip(self.nodes, self.rows, strict=True):
            values.append(nonlinear(stage, node))
            stage = _stage(u, factors, row, values)
        return stage

    def linearise(
        self,
        u: Tensor,
        evaluate: Callable[[Tensor, float], tuple[Tensor, Pull]],
        factors: Sequence[Tensor],
    ) -> tuple[Tensor, Callable[[Tensor, Totals], Tensor]]:
        """The step and its adjoint. `evaluate(u, c)` gives N and the adjoint of N there.

        The adjoint takes the gradient of the result, adds the factors' gradients to `totals`
        (None where none is wanted), and returns the gradient of u. Runs without autograd.
        """
        stage, values, pulls = u, [], []
        for node, row in zip(self.nodes, self.rows, strict=True):
            value, pull = evaluate(stage, node)
            values.append(value)
            pulls.append(pull)
            stage = _stage(u, factors, row, values)

        def adjoint(grad: Tensor, totals: Totals) -> Tensor:
            into: list[Tensor | None] = [None] * len(values)
            grad_u = grad.clone()
            for i in range(len(values) - 1, -1, -1):
                row = self.rows[i]
                if i < len(values) - 1:
                    grad_u += grad
                grad_u.addcmul_(factors[row.linear].conj(), grad)
                _accumulate(totals[row.linear], grad, u)
                for j, weight in enumerate(row.weights):
                    if weight is None:
                        continue
                    factor, before = factors[weight].conj(), into[j]
                    into[j] = factor * grad if before is None else before.addcmul_(factor, grad)
                    _accumulate(totals[weight], grad, values[j])
                mine = into[i]
                assert mine is not None, "a stage that nothing uses"
                grad = pulls[i](mine)
            return grad_u.add_(grad)

        return stage, adjoint


def _stage(u: Tensor, factors: Sequence[Tensor], row: Row, values: Sequence[Tensor]) -> Tensor:
    """u + (A u + sum B N), in place on what it makes where nobody watches."""
    total = factors[row.linear] * u
    if torch.is_grad_enabled() or traced() or total.shape != u.shape:
        for weight, value in zip(row.weights, values, strict=True):
            if weight is not None:
                total = total + factors[weight] * value
        return total + u
    for weight, value in zip(row.weights, values, strict=True):
        if weight is not None:
            total.addcmul_(factors[weight], value)
    return total.add_(u)


def _accumulate(total: Tensor | None, grad: Tensor, value: Tensor) -> None:
    """total += the gradient of f, of total's shape, from grad of f * value."""
    if total is None:
        return
    if total.numel() == grad.numel():
        total.addcmul_(grad.reshape(total.shape), value.conj().reshape(total.shape))
    else:
        total += (grad * value.conj()).sum_to_size(total.shape)
