"""One step of a rollout with its adjoint: what a step has to know, and how autograd makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from sfm.autograd import pulled_back

State = TypeVar("State")
"""A tensor, or tuples, NamedTuples, lists and dicts of tensors."""

Advance = Callable[..., Any]
Totals = Sequence[Tensor | None]
Adjoint = Callable[[Any, Totals], Any]


@runtime_checkable
class Step(Protocol):
    """One step that knows its adjoint; all methods are pure, tensors have any shape and unit.

    advance(u, n, *tensors): the next state; differentiable by autograd where gradients are on.
    linearise(u, n, needs_grad, *tensors): the next state, without autograd, and the adjoint: it
        takes the next state's gradient, adds those of `tensors` to the second argument in place
        (None where none is wanted), and returns u's gradient.
    adjoint(u, n, needs_grad, *tensors): the second of these alone, which may cost less.
    kept(u, needs_grad): bytes that an adjoint holds; 0 if that is not known.
    """

    def advance(self, u: Any, n: int, *tensors: Shaped[Tensor, " ..."]) -> Any: ...

    def linearise(
        self, u: Any, n: int, needs_grad: Sequence[bool], *tensors: Shaped[Tensor, " ..."]
    ) -> tuple[Any, Adjoint]: ...

    def adjoint(
        self, u: Any, n: int, needs_grad: Sequence[bool], *tensors: Shaped[Tensor, " ..."]
    ) -> Adjoint: ...

    def kept(self, u: Any, needs_grad: Sequence[bool]) -> int: ...


class AutogradStep:
    """A function as a `Step`, of tensors of any shape and unit: autograd makes the adjoint.

    It uses no tensors but its arguments.
    """

    def __init__(self, function: Advance) -> None:
        self.function = function

    def advance(self, u: Any, n: int, *tensors: Shaped[Tensor, " ..."]) -> Any:
        return self.function(u, n, *tensors)

    def linearise(
        self, u: Any, n: int, needs_grad: Sequence[bool], *tensors: Shaped[Tensor, " ..."]
    ) -> tuple[Any, Adjoint]:
        return by_autograd(lambda v, *t: self.function(v, n, *t), u, tensors, needs_grad)

    def adjoint(
        self, u: Any, n: int, needs_grad: Sequence[bool], *tensors: Shaped[Tensor, " ..."]
    ) -> Adjoint:
        return self.linearise(u, n, needs_grad, *tensors)[1]

    def kept(self, u: Any, needs_grad: Sequence[bool]) -> int:
        return 0


def by_autograd(
    function: Advance, u: Any, tensors: Sequence[Shaped[Tensor, " ..."]], needs_grad: Sequence[bool]
) -> tuple[Any, Adjoint]:
    """`function(u, *tensors)` and its adjoint (see `Step.linearise`), by a graph of its own.

    Tensors have any shape and unit.
    """
    with torch.enable_grad():
        start = tree_map(lambda x: x.detach().requires_grad_(varies(x)), u)
        given = [t.detach().requires_grad_(w) for t, w in zip(tensors, needs_grad, strict=True)]
        value = function(start, *given)
    inputs, ends = tree_leaves(start), tree_leaves(value)
    count = len(inputs)

    def pull(grad: Any, totals: Totals) -> Any:
        slopes = pulled_back(ends, tree_leaves(grad), [*inputs, *given], retain_graph=True)
        for total, more in zip(totals, slopes[count:], strict=True):
            if total is not None and more is not None:
                total += more
        back = [_or_zeros(slope, x) for slope, x in zip(slopes[:count], inputs, strict=True)]
        return _shaped(back, start)

    return tree_map(Tensor.detach, value), pull


def varies(x: Shaped[Tensor, " ..."]) -> bool:
    """Whether a tensor can have a gradient."""
    return x.is_floating_point() or x.is_complex()


def _or_zeros(slope: Tensor | None, x: Tensor) -> Tensor:
    return torch.zeros_like(x) if slope is None else slope


def _shaped(leaves: list[Tensor], state: Any) -> Any:
    return tree_unflatten(leaves, tree_flatten(state)[1])
