"""A tableau's steps in few calls: the factors that one N meets lie side by side in one tensor.

Where the method's rows are sums of A u and B N, row by row, a step takes a product for every
factor. Here all rows are accumulators in one tensor; each N is added to every row that it enters by
one call, once it is known, and each row's gradient to everything that made it likewise. A step has
the numbers of `Tableau.step` to the last bit; small grids, where calls cost more than work, gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from sfm.simulate.rollout_node import like
from sfm_fluids.stepping.tableau import Evaluate, Tableau, Totals

Fused = Callable[..., tuple[Tensor, Any] | None]  # the next stage, and the adjoint of N


@dataclass(frozen=True)
class Order:
    """Places of the rows, and of u and the N, such that what goes together is one slice.

    Attributes:
        place: of each row among the accumulators of a step.
        users: for each N the rows that use it, in the order of their places.
        back: of each N among the accumulators of the adjoint.
        back_u: of u there.
        makers: for each row what makes it, in the order of its places; -1 is u.
    """

    place: tuple[int, ...]
    users: tuple[tuple[int, ...], ...]
    back: tuple[int, ...]
    back_u: int
    makers: tuple[tuple[int, ...], ...]


@lru_cache(maxsize=16)
def order(tableau: Tableau) -> Order | None:
    """The order of a method; None where there is none, as for ifrk4."""
    count = len(tableau.rows)
    makers = [{j for j, w in enumerate(row.weights) if w is not None} for row in tableau.rows]
    users = [{i for i in range(count) if j in makers[i]} for j in range(count)]
    ahead = _side_by_side(range(count), users)
    back = _side_by_side(range(-1, count), [{-1, *one} for one in makers])
    if ahead is None or back is None or len(makers[-1]) < count:
        return None
    return Order(
        tuple(ahead.index(i) for i in range(count)),
        tuple(tuple(i for i in ahead if i in one) for one in users),
        tuple(back.index(j) for j in range(count)),
        back.index(-1),
        tuple(tuple(j for j in back if j == -1 or j in one) for one in makers),
    )


def _side_by_side(items: Sequence[int], groups: Sequence[set[int]]) -> tuple[int, ...] | None:
    """A permutation in which every group is in one piece."""
    for arranged in permutations(items):
        places = [[arranged.index(i) for i in group] for group in groups]
        if all(max(p) - min(p) < len(p) for p in places):
            return arranged
    return None


@dataclass(frozen=True)
class Stacks:
    """A method's factors, stacked along a new first axis.

    Attributes:
        tableau: the method.
        order: its places.
        linear: A of all rows.
        ahead: for each N its B in the rows that use it.
        back: for each row its A and B.
    """

    tableau: Tableau
    order: Order
    linear: Float[Tensor, "rows ..."]
    ahead: tuple[Float[Tensor, "_ ..."], ...]
    back: tuple[Float[Tensor, "_ ..."], ...]

    @classmethod
    def of(cls, tableau: Tableau, factors: Sequence[Inexact[Tensor, " ..."]]) -> Stacks | None:
        """Rows (n, ...); None for complex factors, several shapes, and methods without an order."""
        places, first = order(tableau), factors[0]
        if places is None or any(f.is_complex() or f.shape != first.shape for f in factors):
            return None
        rows = tableau.rows
        factors = [f.detach() for f in factors]
        by_place = sorted(range(len(rows)), key=places.place.__getitem__)

        def weight(i: int, j: int) -> Tensor:
            at = rows[i].linear if j == -1 else rows[i].weights[j]
            assert at is not None
            return factors[at]

        return cls(
            tableau,
            places,
            _stack([weight(i, -1) for i in by_place]),
            tuple(_stack([weight(i, j) for i in of]) for j, of in enumerate(places.users)),
            tuple(_stack([weight(i, j) for j in by]) for i, by in enumerate(places.makers)),
        )

    def suit(self, u: Inexact[Tensor, " ..."]) -> bool:
        """Whether steps of u (B, ...) may take them: a factor for all of u, or one per flow."""
        shape = self.linear.shape[1:]
        return len(shape) <= u.ndim and torch.broadcast_shapes(shape, u.shape) == u.shape


def _stack(factors: Sequence[Tensor]) -> Tensor:
    """Along a new first axis, in the memory layout of the first."""
    stack = like(factors[0], len(factors))
    for i, factor in enumerate(factors):
        stack[i] = factor
    return stack


class Work:
    """Accumulators for states like one u (B, ...): steps and adjoints of a rollout, in sequence."""

    def __init__(self, stacks: Stacks, u: Tensor) -> None:
        places, count = stacks.order, len(stacks.order.place)
        self.shape, self.tableau = u.shape, stacks.tableau
        axes = (1,) * (u.ndim - (stacks.linear.ndim - 1))

        def level(stack: Tensor) -> Tensor:
            return stack.reshape(len(stack), *axes, *stack.shape[1:]) if axes else stack

        self.linear = level(stacks.linear)
        self.rows = like(u, count)
        self.ahead = []
        for j, used_by in enumerate(places.users):
            start = places.place[used_by[0]]
            part = self.rows[start : start + len(used_by)]
            mine = self.rows[places.place[j]]
            self.ahead.append((self.tableau.nodes[j], level(stacks.ahead[j]), part, mine))
        self.grads = like(u, count + 1)
        self.grad_u = self.grads[places.back_u]
        self.back = []
        for i, made_by in enumerate(places.makers):
            first = made_by[0]
            start = places.back_u if first == -1 else places.back[first]
            part = self.grads[start : start + len(made_by)]
            self.back.append((level(stacks.back[i]), part, self.grads[places.back[i]]))

    def step(
        self,
        u: Inexact[Tensor, "*shape"],
        nonlinear: Callable[[Inexact[Tensor, "*shape"], float], Inexact[Tensor, "*shape"]],
        fused: Fused | None = None,
    ) -> Inexact[Tensor, "*shape"]:
        """As `Tableau.step`, without autograd; `fused` does what it can of a stage in one call."""
        torch.mul(self.linear, u, out=self.rows)
        stage = u
        for node, weight, users, mine in self.ahead:
            both = fused and fused(u, stage, node, weight, users, mine)
            if both:
                stage = both[0]
                continue
            users.addcmul_(weight, nonlinear(stage, node))
            stage = u + mine
        return stage

    def linearise(
        self,
        u: Inexact[Tensor, "*shape"],
        evaluate: Evaluate,
        factors: Sequence[Inexact[Tensor, " ..."]],
        learned: bool,
        end: bool,
        fused: Fused | None = None,
    ) -> tuple[
        Inexact[Tensor, "*shape"],
        Callable[[Inexact[Tensor, "*shape"], Totals], Inexact[Tensor, "*shape"]],
    ]:
        """As `Tableau.linearise`.

        Args:
            u: the state.
            evaluate: (stage, node, whether N is needed) -> N (or None) and its adjoint there.
            factors: the method's, for their gradients.
            learned: whether those are wanted.
            end: whether the step's result is; else the last stage comes in its place.
            fused: as `Term.fused`, at (..., node, ...); taken where no N is to be kept.
        """
        torch.mul(self.linear, u, out=self.rows)
        stage, last = u, len(self.ahead) - 1
        values: list[Tensor] = []
        pulls: list[Callable[..., Tensor]] = []
        adds: list[bool] = []  # whether a pull can add to the accumulators
        for i, (node, weight, users, mine) in enumerate(self.ahead):
            needed = i < last or end or learned
            both = None
            if fused and needed and not learned:
                both = fused(u, stage, node, weight, users, mine)
            adds.append(bool(both))
            if both:
                stage, pull = both
                pulls.append(pull)
                continue
            value, pull = evaluate(stage, node, needed)
            pulls.append(pull)
            if not needed:
                break
            assert value is not None
            if learned:
                values.append(value)
            users.addcmul_(weight, value)
            stage = u + mine

        def adjoint(grad: Tensor, totals: Totals) -> Tensor:
            total, added = grad.clone(), True
            torch.mul(self.back[last][0], grad, out=self.back[last][1])
            for i in range(last, -1, -1):
                weight, makers, mine = self.back[i]
                if learned:
                    self.tableau.accumulate(totals, i, grad, u, values)
                if not added:
                    makers.addcmul_(weight, grad)
                    total += grad
                added = i > 0 and adds[i]
                grad = pulls[i](mine, *self.back[i - 1][:2], total) if added else pulls[i](mine)
            return total.add_(self.grad_u).add_(grad)

        return stage, adjoint
