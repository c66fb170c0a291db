"""A p = b by conjugate gradients, preconditioned by the exact inverse for a constant coefficient.

The preconditioner diagonalises the constant-coefficient operator; the number of iterations grows
with the contrast of a (as the square root at worst) and not with the grid. A is symmetric, so the
adjoint of the solve is the same solve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sfm.errors import RunError
from sfm.progress import report
from sfm_fluids.darcy.medium import Axis, Conductances, apply, eigenbasis

Solve = Callable[[Tensor], Tensor]


def singular(x: Axis, y: Axis) -> bool:
    """Whether no side fixes the pressure, so that it is known up to a constant only."""
    return "dirichlet" not in (x.first, x.last, y.first, y.last)


def preconditioner(x: Axis, y: Axis, like: Tensor) -> Solve:
    """r -> the solution for a = 1, of mean zero where that is known up to a constant."""
    (values_x, modes_x), (values_y, modes_y) = eigenbasis(x), eigenbasis(y)
    total = values_y.unsqueeze(1) + values_x
    inverse = torch.where(total > 1e-10 * total.max(), 1 / total, 0.0).to(like)
    modes_x, modes_y = modes_x.to(like), modes_y.to(like)
    return lambda r: modes_y @ ((modes_y.mT @ r @ modes_x) * inverse) @ modes_x.mT


def conjugate_gradients(
    c: Conductances,
    x: Axis,
    y: Axis,
    *,
    where: str,
    tolerance: float = 1e-13,
    max_iterations: int = 2000,
) -> Solve:
    """b (..., H, W) -> p with A p = b; float64, no graph, batched over leading axes.

    Where no side fixes the pressure, the mean of b is dropped and p has mean zero.

    Raises:
        RunError: no convergence in `max_iterations`.
    """
    c = Conductances(c.x.detach(), c.y.detach())
    free = singular(x, y)

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum((-2, -1), keepdim=True)

    def centred(u: Tensor) -> Tensor:
        return u - u.mean((-2, -1), keepdim=True) if free else u

    @torch.no_grad()
    def solve(b: Tensor) -> Tensor:
        precondition = preconditioner(x, y, b)
        b = b.expand(torch.broadcast_shapes(b.shape, c.x[..., :-1].shape))
        r = centred(b)
        p = torch.zeros_like(r)
        z = precondition(r)
        direction, rz = z, dot(r, z)
        target = dot(b, b) * tolerance**2
        for iteration in range(max_iterations):
            report(f"{where}: conjugate gradients, iteration", iteration, max_iterations)
            active = dot(r, r) > target
            if not bool(active.any()):
                return centred(p)
            product = apply(direction, c, x, y)
            curvature = dot(direction, product)
            step = torch.where(active, rz / torch.where(active, curvature, 1.0), 0.0)
            p, r = p + step * direction, r - step * product
            z = precondition(centred(r))
            rz, previous = dot(r, z), rz
            direction = z + torch.where(active, rz / torch.where(active, previous, 1.0), 0.0) * (
                direction
            )
        worst = float((dot(r, r) / target.clamp_min(1e-300)).max().sqrt()) * tolerance
        if worst < 1e-9:  # rounding stopped it just short of the target
            return centred(p)
        raise RunError(
            f"{where}: conjugate gradients left a relative residual of {worst:.1e} after "
            f"{max_iterations} iterations: lower the contrast of the permeability"
        )

    return solve


class _Inverse(torch.autograd.Function):
    """A^-1 r, or 0 with the derivative of A^-1 r if `shown` is false."""

    @staticmethod
    def forward(r: Tensor, solve: Solve, shown: bool) -> Tensor:
        return solve(r) if shown else torch.zeros_like(r)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.solve = inputs[1]

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None]:
        return _Inverse.apply(v, ctx.solve, True), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return ctx.solve(tangent)


def solution(b: Tensor, c: Conductances, x: Axis, y: Axis, *, where: str, order: int = 2) -> Tensor:
    """p with A p = b, which follows b and c in derivatives up to `order`, forward and reverse.

    From the solution p*, `order` steps p <- p + A*^-1 (b - A p) with the constant inverse A*^-1
    change no value; each makes one more derivative right (the first is the implicit one, whose
    adjoint is one solve).
    """
    solve = conjugate_gradients(c, x, y, where=where)
    p = solve(b.detach())
    for _ in range(order):
        p = p + _Inverse.apply(b - apply(p, c, x, y), solve, False)
    return p
