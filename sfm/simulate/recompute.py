"""A function that autograd runs again in the backward pass instead of keeping what is inside it.

For one large piece of a sum or a batch; many steps in a row are `sfm.simulate.rollout`'s. Unlike
`torch.utils.checkpoint` the function may itself take derivatives and be differentiated as often as
wanted, each time at the price of one more run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.autograd import Function


def recomputed(
    function: Callable[..., Shaped[Tensor, " ..."]], *inputs: Shaped[Tensor, " ..."]
) -> Shaped[Tensor, " ..."]:
    """`function(*inputs)`, of which the graph keeps the inputs alone.

    Args:
        function: pure, of tensors to a tensor; whatever may need a gradient is among its inputs.
        inputs: any shape and unit.
    """
    return cast(Tensor, _Recomputed.apply(function, *inputs))


class _Recomputed(Function):
    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*inputs)
        return function(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()  # a derivative of this derivative is wanted
        inputs = list(ctx.saved_tensors)
        asked = [k for k, needed in enumerate(ctx.needs_input_grad[1:]) if needed]
        if not again:
            inputs = [x.detach() for x in inputs]
        # views: separate from other uses of the same tensors in this graph
        inputs = [
            (x.view_as(x) if again else x.requires_grad_()) if k in asked else x
            for k, x in enumerate(inputs)
        ]
        with torch.enable_grad():
            value = ctx.function(*inputs)
            slopes = torch.autograd.grad(
                value,
                [inputs[k] for k in asked],
                gradients[0],
                create_graph=again,
                allow_unused=True,
            )
        out: list[Tensor | None] = [None] * len(inputs)
        for k, slope in zip(asked, slopes, strict=True):
            out[k] = slope
        return (None, *out)
