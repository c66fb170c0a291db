"""A module as a pure function of its arguments and its parameters.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn


class Stateless:
    """`call(arguments, tensors)` runs `module` with `tensors` in place of its parameters.

    All of any shape.

    So a rollout that redoes its steps can find the gradients of the parameters. A callable that
    is no module is called with `tensors` after its other arguments; those it has are given here.
    """

    def __init__(self, module: Callable[..., Any], tensors: tuple[Tensor, ...] = ()) -> None:
        self.module = module
        if not isinstance(module, nn.Module):
            self.tensors = tensors
            return
        named = dict(module.named_parameters())
        self.names = tuple(named)
        self.tensors = tuple(named.values())

    def call(self, arguments: tuple[Any, ...], tensors: Sequence[Shaped[Tensor, " ..."]]) -> Any:
        if not isinstance(self.module, nn.Module):
            return self.module(*arguments, *tensors)
        if all(a is b for a, b in zip(tensors, self.tensors, strict=True)):
            return self.module(*arguments)
        from torch.func import functional_call

        return functional_call(self.module, dict(zip(self.names, tensors, strict=True)), arguments)
