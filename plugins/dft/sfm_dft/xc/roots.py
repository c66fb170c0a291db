"""Elementwise operations with derivatives of their own: a cube root, and a clamp."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _CubeRoot(torch.autograd.Function):
    """y = x^(1/3) with dy/dx = y / (3 x): derivatives of every order reuse y."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.pow(1.0 / 3.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        return grads[0] * y / (3.0 * x)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        return tangents[0] * y / (3.0 * x)


def cube_root(x: Tensor) -> Tensor:
    """x^(1/3) of positive x, elementwise.

    ``x ** (1 / 3)`` under autograd takes another power for every derivative; here the second
    derivatives of a functional still cost one power per point.
    """
    return _CubeRoot.apply(x)  # type: ignore[no-untyped-call,no-any-return]


class _ClampValue(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, lowest: Tensor | None, highest: Tensor | None) -> Tensor:
        return x.clamp(lowest, highest)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return tangents[0].clone()  # type: ignore[no-any-return]


def clamp_value(x: Tensor, lowest: Tensor | None, highest: Tensor | None) -> Tensor:
    """x between its bounds, with the derivative 1 everywhere and none by the bounds."""
    return _ClampValue.apply(x, lowest, highest)  # type: ignore[no-untyped-call,no-any-return]
