"""Gradients of functions of states, taken inside a right-hand side.

In the function's unit per that of x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def slope(
    function: Callable[[Float[Tensor, "*states d"]], Float[Tensor, " ..."]],
    x: Float[Tensor, "*states d"],
) -> Float[Tensor, "*states d"]:
    """Gradient (..., d) of the sum of a function's values by its argument (..., d).

    Of a function of each row that is each row's gradient; of one of each component, its derivative
    there. Zero where the function does not depend on x; recorded only if the caller records.
    """
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x if recording and x.requires_grad else x.detach().requires_grad_()
        total = function(at).sum()
        if not total.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(
            total, at, create_graph=recording, allow_unused=True, materialize_grads=True
        )
    return gradient if recording else gradient.detach()
