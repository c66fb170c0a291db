"""Explicit exponential Runge-Kutta steps as tables; the step and its adjoint are written once.

Every method here has the form

    U_0 = u,    U_{i+1} = u + (A_i u + sum_{j<=i} B_ij N(U_j)),    the last U is the result,

with diagonal factors A_i and B_ij that depend on L dt alone. The increment in brackets is added
last: with factors made in float64 this keeps the float32 error of a long decay at rounding level.

Exponential Runge-Kutta methods: M. Hochbruck and A. Ostermann, Acta Numerica 19, 209 (2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm.simulate.function_transforms import traced

Totals = Sequence[Inexact[Tensor, " ..."] | None]
Pull = Callable[[Inexact[Tensor, "*shape"]], Inexact[Tensor, "*shape"]]
Evaluate = Callable[
    [Inexact[Tensor, "*shape"], float, bool], tuple[Inexact[Tensor, "*shape"] | None, Pull]
]


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
        self,
        u: Inexact[Tensor, "*shape"],
        nonlinear: Callable[[Inexact[Tensor, "*shape"], float], Inexact[Tensor, "*shape"]],
        factors: Sequence[Inexact[Tensor, " ..."]],
    ) -> Inexact[Tensor, "*shape"]:
        """u(t) -> u(t + dt). `nonlinear(u, c)` is evaluated once per node, at t + c dt."""
        in_place = not torch.is_grad_enabled() and not traced()
        stage, values = u, []
        products: dict[int, Tensor] = {}
        for i, node in enumerate(self.nodes):
            values.append(nonlinear(stage, node))
            stage = self._stage(i, u, values, factors, products, in_place)
        return stage

    @cached_property
    def _terms(self) -> tuple[tuple[tuple[int, int], ...], ...]:
        """For each row: (position of the factor, number of the N) of its terms."""
        return tuple(
            tuple((w, j) for j, w in enumerate(row.weights) if w is not None) for row in self.rows
        )

    @cached_property
    def _again(self) -> tuple[bool, ...]:
        """For each row: whether a later one has the same A."""
        later = [[r.linear for r in self.rows[i + 1 :]] for i in range(len(self.rows))]
        return tuple(row.linear in rest for row, rest in zip(self.rows, later, strict=True))

    def _stage(
        self,
        i: int,
        u: Tensor,
        values: Sequence[Tensor],
        factors: Sequence[Tensor],
        products: dict[int, Tensor],
        in_place: bool,
    ) -> Tensor:
        """u + (A u + sum B N) of row i, in place on what it makes where nobody watches.

        `products` keeps A u for a later row with the same A.
        """
        linear, terms = self.rows[i].linear, self._terms[i]
        total = products.pop(linear, None)
        if total is None:
            total = factors[linear] * u
        if not in_place or total.shape != u.shape:
            for weight, j in terms:
                total = total + factors[weight] * values[j]
            return total + u
        if self._again[i]:
            products[linear] = total
            (weight, j), *terms = terms  # type: ignore[assignment]
            total = torch.addcmul(total, factors[weight], values[j])
        for weight, j in terms:
            total.addcmul_(factors[weight], values[j])
        return total.add_(u)

    def linearise(
        self,
        u: Inexact[Tensor, "*shape"],
        evaluate: Evaluate,
        factors: Sequence[Inexact[Tensor, " ..."]],
    ) -> tuple[
        Inexact[Tensor, "*shape"],
        Callable[[Inexact[Tensor, "*shape"], Totals], Inexact[Tensor, "*shape"]],
    ]:
        """The step and its adjoint. `evaluate(u, c, True)` gives N and the adjoint of N there.

        The adjoint takes the gradient of the result, adds the factors' gradients to `totals`
        (None where none is wanted), and returns the gradient of u. Runs without autograd.
        """
        stage, values, pulls = u, [], []  # type: Tensor, list[Tensor], list[Pull]
        products: dict[int, Tensor] = {}
        for i, node in enumerate(self.nodes):
            value, pull = evaluate(stage, node, True)
            assert value is not None
            values.append(value)
            pulls.append(pull)
            stage = self._stage(i, u, values, factors, products, True)

        def adjoint(grad: Tensor, totals: Totals) -> Tensor:
            into: list[Tensor | None] = [None] * len(values)
            grad_u = grad.clone()
            for i in range(len(values) - 1, -1, -1):
                row = self.rows[i]
                if i < len(values) - 1:
                    grad_u += grad
                grad_u.addcmul_(factors[row.linear].conj(), grad)
                self.accumulate(totals, i, grad, u, values)
                for j, weight in enumerate(row.weights):
                    if weight is None:
                        continue
                    factor, before = factors[weight].conj(), into[j]
                    into[j] = factor * grad if before is None else before.addcmul_(factor, grad)
                mine = into[i]
                assert mine is not None, "a stage that nothing uses"
                grad = pulls[i](mine)
            return grad_u.add_(grad)

        return stage, adjoint

    def accumulate(
        self,
        totals: Totals,
        i: int,
        grad: Inexact[Tensor, "*shape"],
        u: Inexact[Tensor, "*shape"],
        values: Sequence[Inexact[Tensor, "*shape"]],
    ) -> None:
        """Add to the factors' gradients what row i gives them, whose gradient is `grad`.

        All of the shape of u or broadcast to it.
        """
        row = self.rows[i]
        _accumulate(totals[row.linear], grad, u)
        for j, weight in enumerate(row.weights):
            if weight is not None:
                _accumulate(totals[weight], grad, values[j])


def _accumulate(total: Tensor | None, grad: Tensor, value: Tensor) -> None:
    """total += the gradient of f, of total's shape, from grad of f * value."""
    if total is None:
        return
    if total.numel() == grad.numel():
        total.addcmul_(grad.reshape(total.shape), value.conj().reshape(total.shape))
    else:
        total += (grad * value.conj()).sum_to_size(total.shape)
