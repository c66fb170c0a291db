"""torch's node of the graph of derivatives, with a type for `apply`, which torch leaves without;
and the gradient of several outputs, some of which may have none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd import Function as _Function

if TYPE_CHECKING:

    class Function(_Function):
        """What `torch.autograd.Function` is to a type checker; in a run it is that class itself."""

        @classmethod
        def apply(cls, *arguments: Any) -> Any:
            """The node's outputs, from what its `forward` takes after `ctx`."""

else:
    Function = _Function


def pulled_back(
    outputs: Iterable[Shaped[Tensor, " ..."]],
    gradients: Iterable[Shaped[Tensor, " ..."]],
    inputs: Sequence[Shaped[Tensor, " ..."]],
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Shaped[Tensor, " ..."] | None]:
    """The derivative of sum(outputs * gradients) in each input; any shapes and units.

    None where an input requires no gradient, or no output depends on it.
    """
    pairs = [(y, g) for y, g in zip(outputs, gradients, strict=True) if y.requires_grad]
    watched = [x for x in inputs if x.requires_grad]
    if not pairs or not watched:
        return [None] * len(inputs)
    slopes = iter(
        torch.autograd.grad(
            [y for y, _ in pairs],
            watched,
            [g for _, g in pairs],
            create_graph=create_graph,
            retain_graph=retain_graph,
            allow_unused=True,
        )
    )
    return [next(slopes) if x.requires_grad else None for x in inputs]
