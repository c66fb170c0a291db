"""Many steps in a row, and what they keep in memory for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Advance = Callable[..., Tensor]
Monitor = Callable[[int, Tensor], None]


def rollout(
    advance: Advance,
    u: Tensor,
    tensors: Sequence[Tensor],
    steps: int,
    *,
    recompute: bool = True,
    segment: int = 1,
    monitor: Monitor | None = None,
) -> Tensor:
    """u after `steps` calls of `advance(u, n, *tensors)`, n = 0, 1, ...

    Args:
        advance: one step, a pure function.
        u: the state.
        tensors: whatever else a step depends on and may need a gradient.
        steps: how many.
        recompute: keep only the states between steps for the backward pass and redo each step
            there; else keep everything.
        segment: with `recompute`, keep only every `segment`-th state, and redo the steps between.
        monitor: called with (steps done, u) after every step.
    """
    if not (recompute and torch.is_grad_enabled()):
        for n in range(steps):
            u = advance(u, n, *tensors)
            if monitor is not None:
                monitor(n + 1, u)
        return u

    def several(u: Tensor, first: int, last: int, *tensors: Tensor) -> Tensor:
        for n in range(first, last):
            u = advance(u, n, *tensors)
        return u

    for n in range(0, steps, segment):
        last = min(n + segment, steps)
        u = checkpoint(several, u, n, last, *tensors, use_reentrant=False, preserve_rng_state=False)
        if monitor is not None:
            monitor(last, u)
    return u
