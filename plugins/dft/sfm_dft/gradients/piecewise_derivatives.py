"""A value that is known already, with derivatives that are made piece by piece when wanted.

The energy of a converged calculation has evaluated its grid once; forces need the derivatives of
the same numbers by the nuclei. `in_pieces` puts a known tensor into the graph as the function of
its inputs that it is: first derivatives run every piece once and forget it, second derivatives run
it again, so that memory stays that of one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from sfm.autograd import Function

Piece = tuple[slice, Callable[..., Float[Tensor, "*lead g"]]]


def in_pieces(
    value: Float[Tensor, "*lead G"], pieces: Sequence[Piece], *inputs: Float[Tensor, " ..."]
) -> Float[Tensor, "*lead G"]:
    """``value`` (..., G) as a function of the inputs, twice differentiable.

    pieces: slices of the last axis, and the function of all inputs that gives them.
    """
    return cast(Tensor, _Known.apply(value, pieces, *inputs))


class _Known(Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, pieces: Sequence[Piece], *inputs: Tensor) -> Tensor:
        ctx.pieces = pieces
        ctx.save_for_backward(*inputs)
        return value.detach().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        needed = tuple(ctx.needs_input_grad[2:])
        slopes = iter(_Slopes.apply(ctx.pieces, needed, gradient, *ctx.saved_tensors))
        return (None, None, *(next(slopes) if want else None for want in needed))


class _Slopes(Function):
    """Derivatives of sum(gradient * value) by the inputs that need them."""

    @staticmethod
    def forward(
        ctx: Any,
        pieces: Sequence[Piece],
        needed: tuple[bool, ...],
        gradient: Tensor,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.pieces, ctx.needed = pieces, needed
        ctx.save_for_backward(gradient, *inputs)
        leaves = [x.detach().requires_grad_(want) for x, want in zip(inputs, needed, strict=True)]
        chosen = [x for x in leaves if x.requires_grad]
        total = [torch.zeros_like(x) for x in chosen]
        for part, function in pieces:
            with torch.enable_grad():
                value = function(*leaves)
            _add(total, torch.autograd.grad(value, chosen, gradient[..., part], allow_unused=True))
        return tuple(total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        gradient, *inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad[3:]
        both = [w or n for w, n in zip(ctx.needed, needed, strict=True)]
        leaves = [x.detach().requires_grad_(want) for x, want in zip(inputs, both, strict=True)]
        chosen = [x for x, want in zip(leaves, ctx.needed, strict=True) if want]
        asked = [x for x, want in zip(leaves, needed, strict=True) if want]
        back, total = torch.zeros_like(gradient), [torch.zeros_like(x) for x in asked]
        for part, function in ctx.pieces:
            weight = gradient[..., part].detach().requires_grad_()
            with torch.enable_grad():
                value = function(*leaves)
                slopes = torch.autograd.grad(
                    value, chosen, weight, create_graph=True, allow_unused=True
                )
                pairs = [
                    (s, c)
                    for s, c in zip(slopes, cotangents, strict=True)
                    if s is not None and s.requires_grad
                ]
            if not pairs:
                continue
            second = torch.autograd.grad(
                [s for s, _ in pairs],
                [weight, *asked],
                [c for _, c in pairs],
                allow_unused=True,
            )
            if second[0] is not None:
                back[..., part] = second[0]
            _add(total, second[1:])
        rest = iter(total)
        return (None, None, back, *(next(rest) if want else None for want in needed))


def _add(total: list[Tensor], slopes: Sequence[Tensor | None]) -> None:
    for sum_, slope in zip(total, slopes, strict=True):
        if slope is not None:
            sum_ += slope
