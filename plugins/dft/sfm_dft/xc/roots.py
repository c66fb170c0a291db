"""Elementwise operations with derivatives of their own: a cube root, and a clamp.

Units stay what they are.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from sfm.autograd import Function


class _CubeRoot(Function):
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
        slope: Tensor = grads[0] * y / (3.0 * x)
        return slope

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        slope: Tensor = tangents[0] * y / (3.0 * x)
        return slope


def cube_root(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x^(1/3) of positive x of any shape, elementwise.

    ``x ** (1 / 3)`` under autograd takes another power for every derivative; here the second
    derivatives of a functional still cost one power per point.
    """
    root: Tensor = _CubeRoot.apply(x)
    return root


class _ClampValue(Function):
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
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return tangent.clone()


def clamp_value(
    x: Float[Tensor, "*shape"],
    lowest: Float[Tensor, " ..."] | None,
    highest: Float[Tensor, " ..."] | None,
) -> Float[Tensor, "*shape"]:
    """x of any shape between its bounds, with the derivative 1 everywhere, none by the bounds."""
    clamped: Tensor = _ClampValue.apply(x, lowest, highest)
    return clamped
