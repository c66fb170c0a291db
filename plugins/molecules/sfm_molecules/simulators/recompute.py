"""Differentiating a long rollout with the memory of one state per step.

`recomputed(step, inputs, parameters)` runs a step without recording it; the backward pass runs it
again. Unlike `torch.utils.checkpoint` it stays cheap when the step itself differentiates (forces
are gradients): there, 100 steps of a small system took 60 times longer, because each inner
derivative recomputes. Only first derivatives work; torch says so when a second one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Step = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]]


def recomputed(
    step: Step, inputs: Sequence[Tensor], parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """`step(inputs, parameters)`, recorded as its inputs only.

    Args:
        step: pure function of its two arguments.
        inputs: tensors that change from step to step; these are what is kept.
        parameters: every other tensor that gradients are wanted for, the same at each step.
    """
    return _Recomputed.apply(step, len(inputs), *inputs, *parameters)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Step, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.step, ctx.count = step, count
        ctx.save_for_backward(*tensors)
        return step(tensors[:count], tensors[count:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[2:]
        copies = [
            tensor.detach().requires_grad_(needed)
            for tensor, needed in zip(ctx.saved_tensors, wanted, strict=True)
        ]
        with torch.enable_grad():
            outputs = ctx.step(copies[: ctx.count], copies[ctx.count :])
        kept = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o.requires_grad]
        found = iter(
            torch.autograd.grad(
                [output for output, _ in kept],
                [copy for copy in copies if copy.requires_grad],
                [gradient for _, gradient in kept],
                allow_unused=True,
            )
        )
        return None, None, *(next(found) if needed else None for needed in wanted)
