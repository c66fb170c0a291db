"""Many steps in a row, and what they keep in memory for the backward pass.

The whole rollout is one node of autograd's graph. Its forward pass builds no graph and keeps one
state per step (or per segment of steps); its backward pass goes through the steps from the last
to the first, redoes each and applies its adjoint. The memory is that of the states and of one step.
The last steps are not redone where what they need is known to be small (`budget`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sfm_fluids.stepping.budget import BUDGET
from sfm_fluids.stepping.function_transforms import several, traced
from sfm_fluids.stepping.stacked import like
from sfm_fluids.stepping.tableau import Totals
from sfm_fluids.stepping.term import by_autograd
from sfm_fluids.stepping.undeclared import undeclared

Advance = Callable[..., Tensor]
Monitor = Callable[[int, Tensor], None]
Adjoint = Callable[[Tensor, Totals], Tensor]


@runtime_checkable
class Step(Protocol):
    """One step that knows its adjoint; all methods are pure.

    advance(u, n, *tensors): the next state; differentiable by autograd where gradients are on.
    linearise(u, n, wanted, *tensors): the next state, without autograd, and the adjoint: it takes
        the next state's gradient, adds those of `tensors` to the second argument in place (None
        where none is wanted), and returns u's gradient.
    adjoint(u, n, wanted, *tensors): the second of these alone, which may cost less.
    kept(u, wanted): bytes that an adjoint holds; 0 if that is not known.
    """

    def advance(self, u: Tensor, n: int, *tensors: Tensor) -> Tensor: ...

    def linearise(
        self, u: Tensor, n: int, wanted: Sequence[bool], *tensors: Tensor
    ) -> tuple[Tensor, Adjoint]: ...

    def adjoint(self, u: Tensor, n: int, wanted: Sequence[bool], *tensors: Tensor) -> Adjoint: ...

    def kept(self, u: Tensor, wanted: Sequence[bool]) -> int: ...


class AutogradStep:
    """A function as a `Step`: autograd makes the adjoint, with the bits of plain autograd."""

    def __init__(self, function: Advance) -> None:
        self.function = function

    def advance(self, u: Tensor, n: int, *tensors: Tensor) -> Tensor:
        return self.function(u, n, *tensors)

    def linearise(
        self, u: Tensor, n: int, wanted: Sequence[bool], *tensors: Tensor
    ) -> tuple[Tensor, Adjoint]:
        return by_autograd(lambda v, *t: self.function(v, n, *t), u, tensors, wanted)

    def adjoint(self, u: Tensor, n: int, wanted: Sequence[bool], *tensors: Tensor) -> Adjoint:
        return self.linearise(u, n, wanted, *tensors)[1]

    def kept(self, u: Tensor, wanted: Sequence[bool]) -> int:
        return 0


def rollout(
    advance: Advance | Step,
    u: Tensor,
    tensors: Sequence[Tensor],
    steps: int,
    *,
    recompute: bool = True,
    segment: int = 1,
    monitor: Monitor | None = None,
) -> Tensor:
    """u after `steps` calls of `advance(u, n, *tensors)`, n = 0, 1, ...

    Differentiable in reverse mode, twice if need be, and in forward mode; `torch.func` transforms
    work too. Forward mode and `torch.func` build plain graphs; a second derivative keeps the
    graph of all steps.

    Args:
        advance: one step: a pure function, or a `Step` with an adjoint of its own.
        u: the state.
        tensors: whatever else a step depends on and may need a gradient. A function that uses
            other tensors that need one is slower: each step then goes through torch's checkpoint.
        steps: how many.
        recompute: keep only the states between steps for the backward pass and redo each step
            there, but for the last ones while the budget of 64 MiB lasts; else keep everything.
        segment: with `recompute`, keep only every `segment`-th state, and redo the steps between:
            a memory of steps / segment + segment states for one more forward pass.
        monitor: called with (steps done, u) after every step.
    """
    declared = isinstance(advance, Step)
    step = advance if isinstance(advance, Step) else AutogradStep(advance)
    learning = torch.is_grad_enabled()
    if steps == 0:
        return u
    if not learning or traced():
        return _plain(step, u, tensors, steps, monitor)
    if not declared and undeclared(step.advance, (u, *tensors), (u, 0, *tensors)):
        return _checkpointed(step, u, tensors, steps, recompute, segment, monitor)
    if not any(t.requires_grad for t in (u, *tensors)):
        with torch.no_grad():
            return _plain(step, u, tensors, steps, monitor)
    return _Rollout.apply(step, steps, recompute, segment, monitor, u, *tensors)


def _plain(
    step: Step, u: Tensor, tensors: Sequence[Tensor], steps: int, monitor: Monitor | None
) -> Tensor:
    for n in range(steps):
        u = step.advance(u, n, *tensors)
        if monitor is not None:
            monitor(n + 1, u)
    return u


def _checkpointed(
    step: Step,
    u: Tensor,
    tensors: Sequence[Tensor],
    steps: int,
    recompute: bool,
    segment: int,
    monitor: Monitor | None,
) -> Tensor:
    """For steps that use tensors that they do not declare: torch finds those itself."""
    if not recompute:
        return _plain(step, u, tensors, steps, monitor)

    def several(u: Tensor, first: int, last: int, *tensors: Tensor) -> Tensor:
        for n in range(first, last):
            u = step.advance(u, n, *tensors)
            if monitor is not None and not done[n]:
                done[n] = True
                monitor(n + 1, u)
        return u

    done = [False] * steps
    for n in range(0, steps, segment):
        last = min(n + segment, steps)
        u = checkpoint(several, u, n, last, *tensors, use_reentrant=False, preserve_rng_state=False)
    return u


class _Adjoints(list[Adjoint]):
    """Of the last steps; what the budget gave for them is free again when it is gone."""


class _States:
    """Copies of states, side by side: kept one by one, between what a step needs and leaves, they
    would tear the free memory to pieces."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.blocks: list[Tensor] = []
        self.places: list[tuple[int, int]] = []
        self._row = 0

    def append(self, u: Tensor) -> None:
        last = self.blocks[-1] if self.blocks else None
        if last is None or (last.shape[1:], last.dtype) != (u.shape, u.dtype):
            self.blocks.append(like(u, self.left))  # a first step may have made a batch of u
            self._row = 0
        self.blocks[-1][self._row].copy_(u)
        self.places.append((len(self.blocks) - 1, self._row))
        self._row, self.left = self._row + 1, self.left - 1


class _Rollout(torch.autograd.Function):
    """The node: states in, last state out.

    What the backward pass needs goes the way of saved tensors, so that it is free again once a
    backward pass has used it, even while the result lives on, and torch's checkpoints and hooks
    reach it: the states, and the adjoints as an attribute of an empty tensor. Where a hook gave
    that back without its attribute, the last steps are redone like the others.
    """

    @staticmethod
    def forward(
        ctx: Any,
        step: Step,
        steps: int,
        recompute: bool,
        segment: int,
        monitor: Monitor | None,
        u: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        wanted = ctx.needs_input_grad[6:]
        start, adjoints = u, _Adjoints()
        redone = 0
        if recompute:
            redone = steps - BUDGET.take(step.kept(u, wanted), steps, adjoints)
        firsts = [*range(0, redone, segment), *([redone] if redone < steps else [])]
        states = _States(len(firsts))
        for n in range(steps):
            if n == redone or (n < redone and n % segment == 0):
                states.append(u)
            if n < redone:
                u = step.advance(u, n, *tensors)
            else:
                u, adjoint = step.linearise(u, n, wanted, *tensors)
                adjoints.append(adjoint)
            if monitor is not None:
                monitor(n + 1, u)
        holder = start.new_empty(0)
        holder.adjoints = adjoints  # type: ignore[attr-defined]
        ctx.save_for_backward(start, holder, *tensors, *states.blocks)
        ctx.step, ctx.steps, ctx.redone, ctx.lock = step, steps, redone, threading.RLock()
        ctx.firsts, ctx.places = firsts, states.places
        return u

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        wanted = ctx.needs_input_grad[6:]
        u, holder, *rest = ctx.saved_tensors
        tensors, blocks = rest[: len(wanted)], rest[len(wanted) :]
        if torch.is_grad_enabled() or several(grad):
            return (None,) * 5 + _differentiable(ctx.step, u, tensors, ctx.steps, grad)
        totals = [torch.zeros_like(t) if w else None for t, w in zip(tensors, wanted, strict=True)]
        with ctx.lock:  # a step's accumulators serve one pass at a time
            ends = [*ctx.firsts[1:], ctx.steps]
            parts = zip(ctx.firsts, ends, ctx.places, strict=True)
            for first, last, (block, row) in reversed(list(parts)):
                adjoints = getattr(holder, "adjoints", None) if first == ctx.redone else None
                if adjoints is None:
                    grad = _redone(
                        ctx.step, blocks[block][row], first, last, wanted, tensors, grad, totals
                    )
                    continue
                for adjoint in reversed(adjoints):
                    grad = adjoint(grad, totals)
        return (None, None, None, None, None, grad if ctx.needs_input_grad[5] else None, *totals)


def _redone(
    step: Step,
    u: Tensor,
    first: int,
    last: int,
    wanted: Sequence[bool],
    tensors: Sequence[Tensor],
    grad: Tensor,
    totals: Totals,
) -> Tensor:
    """The gradient of u, the state at `first`, from that of the state at `last`."""
    states = [u]
    for n in range(first, last - 1):
        states.append(step.advance(states[-1], n, *tensors))
    for n in range(last - 1, first - 1, -1):
        grad = step.adjoint(states.pop(), n, wanted, *tensors)(grad, totals)
    return grad


def _differentiable(
    step: Step, u: Tensor, tensors: Sequence[Tensor], steps: int, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The same gradients by a plain graph: for derivatives of derivatives, and for many gradients
    at once (torch's `is_grads_batched`)."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [t.view_as(t) for t in (u, *tensors)]
        end = _plain(step, inputs[0], inputs[1:], steps, None)
    watched = [t for t in inputs if t.requires_grad]
    found = iter(torch.autograd.grad(end, watched, grad, create_graph=again, allow_unused=True))
    return tuple(next(found) if t.requires_grad else None for t in inputs)
