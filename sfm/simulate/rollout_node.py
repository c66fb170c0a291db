"""A rollout as one node of autograd's graph: what it keeps, and its backward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from sfm.autograd import Function, pulled_back
from sfm.simulate import schedule
from sfm.simulate.budget import BUDGET
from sfm.simulate.function_transforms import several
from sfm.simulate.step import Adjoint, State, Step, Totals, varies

Monitor = Callable[[int, Any], None]


@dataclass
class Plan:
    """What a rollout was asked for, and the structure of its states.

    `start` and `after` are those of the first state and of all later ones.
    """

    step: Step
    start: TreeSpec
    first: int
    steps: int
    recompute: bool
    segment: int
    states: int | None
    monitor: Monitor | None
    after: TreeSpec = field(init=False)

    @property
    def count(self) -> int:
        """How many tensors the first state has."""
        return self.start.num_leaves

    def kept(self, redone: int) -> list[int]:
        """Which states of the steps that are redone are kept."""
        if self.states is None:
            return list(range(0, redone, self.segment))
        return schedule.kept(redone, self.states) if redone else []

    def slots(self, index: int) -> int:
        """How many states may be kept on the way through part `index` in the backward pass."""
        return self.segment - 1 if self.states is None else self.states - 1 - index


def plain(
    step: Step,
    u: State,
    tensors: Sequence[Shaped[Tensor, " ..."]],
    first: int,
    steps: int,
    monitor: Monitor | None,
) -> State:
    """`steps` steps, recorded by autograd where that is on; tensors of any shape and unit."""
    for n in range(steps):
        u = step.advance(u, first + n, *tensors)
        if monitor is not None:
            monitor(n + 1, u)
    return u


class _Adjoints(list[Adjoint]):
    """Of the last steps; what the budget gave for them is free again when it is gone."""


class _Blocks:
    """Copies of states, side by side: kept one by one, between what a step needs and leaves, they
    would tear the free memory to pieces."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.tensors: list[Tensor] = []
        self.places: list[list[tuple[int, int]]] = []  # of each state: block and row of each leaf
        self._open: list[tuple[int, int]] = []

    def append(self, leaves: Sequence[Tensor]) -> None:
        if len(self._open) != len(leaves):
            self._open = [(-1, 0)] * len(leaves)
        for i, leaf in enumerate(leaves):
            block, row = self._open[i]
            last = self.tensors[block] if block >= 0 else None
            if last is None or (last.shape[1:], last.dtype) != (leaf.shape, leaf.dtype):
                self.tensors.append(like(leaf, self.left))  # a first step may have made a batch
                block, row = len(self.tensors) - 1, 0
            self.tensors[block][row].copy_(leaf)
            self._open[i] = (block, row + 1)
        self.places.append([(block, row - 1) for block, row in self._open])
        self.left -= 1


class Rollout(Function):
    """The node: states in, last state out, as tensors of any shape and unit.

    What the backward pass needs goes the way of saved tensors, so that it is free again once a
    backward pass has used it, even while the result lives on, and torch's checkpoints and hooks
    reach it: the states, and the adjoints as an attribute of an empty tensor. Where a hook gave
    that back without its attribute, the last steps are redone like the others.
    """

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, *inputs: Shaped[Tensor, " ..."]
    ) -> tuple[Shaped[Tensor, " ..."], ...]:
        step, steps, first, monitor = plan.step, plan.steps, plan.first, plan.monitor
        start, tensors = inputs[: plan.count], inputs[plan.count :]
        needs_grad = ctx.needs_input_grad[1 + plan.count :]
        u = tree_unflatten(list(start), plan.start)
        adjoints, redone = _Adjoints(), 0
        if plan.recompute:
            redone = steps - BUDGET.take(step.kept(u, needs_grad), steps, adjoints)
        firsts = [*plan.kept(redone), *([redone] if redone < steps else [])]
        kept, blocks = set(firsts), _Blocks(len(firsts))
        for n in range(steps):
            if n in kept:
                blocks.append(tree_leaves(u))
            if n < redone:
                u = step.advance(u, first + n, *tensors)
            else:
                u, adjoint = step.linearise(u, first + n, needs_grad, *tensors)
                adjoints.append(adjoint)
            if monitor is not None:
                monitor(n + 1, u)
        ends, plan.after = tree_flatten(u)
        holder = inputs[0].new_empty(0)
        holder.adjoints = adjoints  # type: ignore[attr-defined]
        ctx.save_for_backward(*inputs, holder, *blocks.tensors)
        ctx.plan, ctx.redone, ctx.lock = plan, redone, threading.RLock()
        ctx.firsts, ctx.places = firsts, blocks.places
        ctx.mark_non_differentiable(*[x for x in ends if not varies(x)])
        return tuple(ends)

    @staticmethod
    def backward(ctx: Any, *gradients: Shaped[Tensor, " ..."]) -> Any:
        plan, count = ctx.plan, len(ctx.needs_input_grad) - 1
        needs_grad = ctx.needs_input_grad[1 + plan.count :]
        saved = ctx.saved_tensors  # asked for once, or torch's checkpoint complains
        inputs, holder, blocks = saved[:count], saved[count], saved[count + 1 :]
        tensors = inputs[plan.count :]
        if torch.is_grad_enabled() or any(several(g) for g in gradients):
            return (None, *_differentiable(plan, inputs, gradients))
        totals = [
            torch.zeros_like(t) if w else None for t, w in zip(tensors, needs_grad, strict=True)
        ]
        grad = tree_unflatten(list(gradients), plan.after)
        with ctx.lock:  # a step's accumulators serve one pass at a time
            ends = [*ctx.firsts[1:], plan.steps]
            parts = list(zip(ctx.firsts, ends, ctx.places, strict=True))
            for index, (first, last, places) in reversed(list(enumerate(parts))):
                adjoints = getattr(holder, "adjoints", None) if first == ctx.redone else None
                if adjoints is None:
                    leaves = [blocks[block][row] for block, row in places]
                    u = tree_unflatten(leaves, plan.start if first == 0 else plan.after)
                    backward = _Backward(plan, needs_grad, tensors, totals)
                    grad = backward(u, first, last, plan.slots(index), grad)
                    continue
                for adjoint in reversed(adjoints):
                    grad = adjoint(grad, totals)
        asked = ctx.needs_input_grad[1 : 1 + plan.count]
        back = [g if a else None for g, a in zip(tree_leaves(grad), asked, strict=True)]
        return (None, *back, *totals)


class _Backward:
    """The gradient of a state from that of a later one."""

    def __init__(
        self, plan: Plan, needs_grad: Sequence[bool], tensors: Sequence[Tensor], totals: Totals
    ) -> None:
        self.step, self.number = plan.step, plan.first
        self.needs_grad, self.tensors, self.totals = needs_grad, tensors, totals

    def __call__(self, u: Any, first: int, last: int, slots: int, grad: Any) -> Any:
        """From `last` to `first`, whose state is u, with room for `slots` states more."""
        path = [(first, u)]
        while path:
            n, u = path[-1]
            while n < last - 1:  # on to the last step, keeping what there is room for
                room, ahead = slots + 1 - len(path), last - 1 - n
                if room > 0:
                    ahead = 1 if room >= ahead else schedule.split(last - n, room)
                for m in range(n, n + ahead):
                    u = self.step.advance(u, self.number + m, *self.tensors)
                n += ahead
                if room > 0:
                    path.append((n, u))
            adjoint = self.step.adjoint(u, self.number + n, self.needs_grad, *self.tensors)
            grad, last = adjoint(grad, self.totals), n
            del adjoint  # and the graph of its step, before the way on
            if path[-1][0] == last:
                path.pop()
        return grad


def _differentiable(
    plan: Plan, inputs: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """The same gradients by a plain graph: for derivatives of derivatives, and for many gradients
    at once (torch's `is_grads_batched`)."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        views = [t.view_as(t) for t in inputs]
        state = tree_unflatten(views[: plan.count], plan.start)
        end = plain(plan.step, state, views[plan.count :], plan.first, plan.steps, None)
    return tuple(pulled_back(tree_leaves(end), gradients, views, create_graph=again))


def like(u: Shaped[Tensor, "*shape"], count: int) -> Shaped[Tensor, "count ..."]:
    """`count` tensors like u, in its memory layout, along a new first axis; not filled."""
    return u.new_empty_strided((count, *u.shape), (u.numel(), *torch.empty_like(u).stride()))
