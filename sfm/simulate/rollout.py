"""Many steps in a row, and what they keep in memory for the backward pass.

The whole rollout is one node of autograd's graph. Its forward pass builds no graph and keeps one
state per step, per segment of steps, or a fixed number of states whatever the length; its backward
pass goes through the steps from the last to the first, redoes each and applies its adjoint. The
memory is that of the states and of one step. The last steps are not redone where what they need is
known to be small (`sfm.simulate.budget`).

Unlike `torch.utils.checkpoint` around each step this stays cheap where a step itself differentiates
(forces are gradients): there, 100 steps of a small molecule took 60 times longer, because each
inner derivative redoes the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from sfm.errors import InputError
from sfm.simulate.function_transforms import traced
from sfm.simulate.rollout_node import Monitor, Plan, Rollout, plain
from sfm.simulate.step import AutogradStep, State, Step
from sfm.simulate.undeclared import undeclared


def rollout(
    advance: Callable[..., State] | Step,
    state: State,
    tensors: Sequence[Shaped[Tensor, " ..."]],
    steps: int,
    *,
    first: int = 0,
    recompute: bool = True,
    segment: int | None = 1,
    states: int | None = None,
    monitor: Callable[[int, State], None] | None = None,
) -> State:
    """The state after `steps` calls of `advance(state, n, *tensors)`, n = first, first + 1, ...

    Differentiable in reverse mode, twice if need be, and in forward mode; `torch.func` transforms
    work too. Forward mode and `torch.func` build plain graphs; a second derivative keeps the
    graph of all steps.

    Args:
        advance: one step: a pure function, or a `Step` with an adjoint of its own.
        state: a tensor of any shape and unit, or a tuple (list, dict) of tensors; every step gives
            the same structure.
        tensors: whatever else a step depends on and may need a gradient. A function that uses
            other tensors that need one is slower: each step then goes through torch's checkpoint.
        steps: how many.
        first: number of the first step.
        recompute: keep states between steps for the backward pass and redo each step there, but
            for the last ones while the budget of 64 MiB lasts; else keep everything.
        segment: with `recompute`, keep only every `segment`-th state, and redo the steps between:
            steps / segment + segment states for one more forward pass, fewest for the square root
            of `steps`, which None stands for.
        states: with `recompute`, keep at most so many states, however many steps there are, and
            redo steps in the fewest forward passes that this allows (`sfm.simulate.schedule`).
        monitor: called with (steps done, state) after every step.

    Raises:
        InputError: `states` and a `segment`, or one of them below 1.
    """
    if states is not None and segment != 1:
        raise InputError(f"rollout: states={states} and segment={segment}: give one of the two")
    if min(1 if segment is None else segment, 1 if states is None else states) < 1:
        raise InputError(f"rollout: states={states}, segment={segment}: give 1 or more")
    declared = isinstance(advance, Step)
    step: Step = advance if isinstance(advance, Step) else AutogradStep(advance)
    if steps == 0:
        return state
    segment = segment or max(1, round(steps**0.5))
    if not torch.is_grad_enabled() or traced():
        return plain(step, state, tensors, first, steps, monitor)
    leaves, structure = tree_flatten(state)
    if not declared and undeclared(step.advance, (*leaves, *tensors), (state, first, *tensors)):
        size = segment if states is None else -(-steps // states)
        return _checkpointed(step, state, tensors, first, steps, recompute, size, monitor)
    if not any(t.requires_grad for t in (*leaves, *tensors)):
        with torch.no_grad():
            return plain(step, state, tensors, first, steps, monitor)
    plan = Plan(step, structure, first, steps, recompute, segment, states, monitor)
    ends = Rollout.apply(plan, *leaves, *tensors)
    return cast(State, tree_unflatten(list(ends), plan.after))


def recorded(
    advance: Callable[..., State] | Step,
    state: State,
    tensors: Sequence[Shaped[Tensor, " ..."]],
    at: Sequence[int],
    **options: Any,
) -> list[State]:
    """The states after each of the numbers of steps `at`, ascending; 0 is `state` itself.

    A loss of several of them has one backward pass. Arguments, tensors of any shape and unit, are
    those of `rollout`, `options` too; those on memory count between two records.

    Raises:
        InputError: `at` does not ascend from 0 or more.
    """
    if any(b < a for a, b in zip([0, *at], at, strict=False)):
        raise InputError(f"rollout: records at steps {list(at)}: give them in ascending order")
    states, done, first = [], 0, options.pop("first", 0)
    for number in at:
        state = rollout(advance, state, tensors, number - done, first=first + done, **options)
        done = number
        states.append(state)
    return states


def _checkpointed(
    step: Step,
    u: State,
    tensors: Sequence[Tensor],
    first: int,
    steps: int,
    recompute: bool,
    segment: int,
    monitor: Monitor | None,
) -> State:
    """For steps that use tensors that they do not declare: torch finds those itself."""
    if not recompute:
        return plain(step, u, tensors, first, steps, monitor)

    def part(u: State, start: int, end: int, *tensors: Tensor) -> State:
        for n in range(start, end):
            u = step.advance(u, first + n, *tensors)
            if monitor is not None and not done[n]:
                done[n] = True
                monitor(n + 1, u)
        return u

    done = [False] * steps
    for n in range(0, steps, segment):
        end = min(n + segment, steps)
        u = checkpoint(part, u, n, end, *tensors, use_reentrant=False, preserve_rng_state=False)
    return u
