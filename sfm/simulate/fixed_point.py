"""Derivatives of what an iteration ends in, without the iteration.

A steady state, a relaxed cell, a self-consistent density x solves F(x, theta) = 0 (for a fixed
point x = G(x, theta), F = x - G). However it was found, by the implicit function theorem

    dx = -J^-1 dF|_x,   J = dF/dx,        backward: g -> lambda = -J^-T g, and lambda . dF/dtheta,

so a derivative costs one linear solve and keeps nothing of the iteration. `implicit` does this for
a residual F; `attach` for a known linear response, where the solve is the caller's.

Higher derivatives: a Newton step with the constant inverse, x <- x - J^-1 F(x, theta), leaves x as
it is and turns an error O(dtheta^n) of its Taylor series in theta into O(dtheta^(n+1)). So after
`order` such steps all derivatives up to that order are those of the solution, in every mode; one
more is refused.

Source: A. Griewank and A. Walther, Evaluating Derivatives (2nd ed., SIAM, 2008), chapter 15.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm.autograd import Function
from sfm.errors import InputError
from sfm.simulate.function_transforms import traced, transformed
from sfm.simulate.krylov import Operator, gmres

Residual = Callable[[Tensor], Tensor]


def implicit(
    x: Inexact[Tensor, "*unknowns"],
    residual: Residual,
    *,
    solve: Operator | None = None,
    adjoint: Operator | None = None,
    symmetric: bool = False,
    order: int = 1,
    improve: bool = False,
    batch_axes: int = 0,
    where: str = "implicit derivative",
) -> Inexact[Tensor, "*unknowns"]:
    """x with F(x, theta) = 0, as a differentiable function of all that `residual` holds.

    Args:
        x: (..., *unknowns), the solution, found without a graph. Derivatives are as good as it is.
        residual: x -> F(x, theta), of the shape of x; differentiable, and pure.
        solve: r -> J^-1 r with J = dF/dx at x, by whatever solver there is. Serves forward mode and
            orders above one. None: GMRES on products with J, which autograd makes from `residual`.
        adjoint: r -> J^-T r. Serves first derivatives in reverse mode. None: GMRES, likewise.
        symmetric: whether J is; then one of the two solves is enough.
        order: highest derivative that will be asked for, at one evaluation of F each.
        improve: whether the Newton steps change the value, too; else it is x to the bit.
        batch_axes: for GMRES: how many leading axes count independent systems.
        where: what is solved, for messages.

    Returns:
        Tensor of the shape of x; without a graph where nobody could ask for one.

    Raises:
        InputError: a derivative of a higher order is taken; a solve is missing inside a transform
            of `torch.func`.
        RunError: in the backward pass: a solve did not converge, as where J is singular.
    """
    if order < 1:
        raise InputError(f"{where}: order={order}: give 1 for first derivatives, 2 for second ones")
    x = x.detach()
    if not improve and not torch.is_grad_enabled() and not traced():
        return x
    if symmetric:
        solve, adjoint = solve or adjoint, adjoint or solve
    if solve is None or adjoint is None:
        forward, transposed = _products(residual, x, where)
        by_gmres = partial(gmres, batch_axes=batch_axes, where=where)
        solve = solve or (lambda r: by_gmres(forward, r).x)
        adjoint = adjoint or (lambda r: by_gmres(transposed, r).x)
    for _ in range(order):
        f = residual(x)
        shown = None if improve else torch.zeros_like(x)
        x = x - _Response.apply(f, _Maps(solve, adjoint, order, where), shown)
    return x


def attach(
    value: Inexact[Tensor, "*value"],
    source: Inexact[Tensor, "*source"],
    adjoint: Operator,
    *,
    tangent: Operator | None = None,
    order: int = 1,
    where: str = "response",
) -> Inexact[Tensor, "*value"]:
    """`value`, whose derivative by `source` is a linear map L that is known by its adjoint.

    For solutions whose response has a form of its own, as a density to a change of its
    Hamiltonian. L is taken as constant: derivatives of second `order` are right only where the
    value is linear in `source`.

    Args:
        value: any shape; detached.
        source: any shape, with its graph.
        adjoint: gradient of the shape of `value` -> L^T of it, of the shape of `source`.
        tangent: change of `source` -> L of it, for forward mode and orders above one.
        order: highest derivative that will be asked for.
        where: what responds, for messages.

    Raises:
        InputError: a derivative of a higher order is taken, or forward mode without `tangent`.
    """
    maps = _Maps(tangent, adjoint, order, where)
    return cast(Tensor, _Response.apply(source, maps, value.detach()))


@dataclass(frozen=True)
class _Maps:
    """A linear map, its adjoint, and how many derivatives may still be taken through it."""

    tangent: Operator | None
    adjoint: Operator | None
    left: int
    where: str

    def used(self) -> _Maps:
        """The same after one derivative more.

        Raises:
            InputError: there were enough.
        """
        if self.left < 1:
            raise InputError(
                f"{self.where}: a higher derivative is asked for than was prepared; raise `order` "
                "where it is made, or differentiate fewer times"
            )
        return _Maps(self.tangent, self.adjoint, self.left - 1, self.where)

    def transposed(self) -> _Maps:
        return _Maps(self.adjoint, self.tangent, self.left, self.where)


class _Response(Function):
    """L of the source, or `shown` with the derivative of that."""

    @staticmethod
    def forward(source: Tensor, maps: _Maps, shown: Tensor | None) -> Tensor:
        if shown is not None:
            return shown.clone()
        if maps.tangent is None:
            raise InputError(f"{maps.where}: forward mode and second derivatives need `tangent`")
        with torch.no_grad():
            return maps.tangent(source)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.maps = inputs[1]
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        maps = ctx.maps.used()
        slope = _Response.apply(gradients[0], maps.transposed(), None)
        if maps.left == 0 and torch.is_grad_enabled():
            slope = _Last.apply(slope, ctx.saved_tensors[0], maps)
        return slope, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return cast(Tensor, _Response.apply(tangents[0], ctx.maps.used(), None))


class _Last(Function):
    """A slope that also hangs on what the response did, so that nobody differentiates it again.

    It is a constant to autograd, which would leave out, without a word, that it changes.
    """

    @staticmethod
    def forward(slope: Tensor, source: Tensor, maps: _Maps) -> Tensor:
        return slope.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.maps = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.maps.used()

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        ctx.maps.used()


def _products(residual: Residual, x: Tensor, where: str) -> tuple[Operator, Operator]:
    """v -> J v and v -> J^T v at x, by autograd: one backward pass, and a derivative of one."""
    if transformed():
        raise InputError(f"{where}: inside torch.func transforms give both `solve` and `adjoint`")
    with torch.enable_grad():
        y = x.clone().requires_grad_()
        f = residual(y)
        dual = torch.zeros_like(f, requires_grad=True)
        pulled: list[Tensor] = []

    def transposed(v: Tensor) -> Tensor:
        return torch.autograd.grad(f, y, v, retain_graph=True, materialize_grads=True)[0]

    def forward(v: Tensor) -> Tensor:
        if not pulled:  # linear in `dual`: its derivative by that, along v, is J v
            with torch.enable_grad():
                pulled.extend(torch.autograd.grad(f, y, dual, create_graph=True))
        return torch.autograd.grad(pulled[0], dual, v, retain_graph=True, materialize_grads=True)[0]

    return forward, transposed
