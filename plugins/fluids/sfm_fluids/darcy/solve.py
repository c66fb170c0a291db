"""A p = b by conjugate gradients, preconditioned by the exact inverse for a constant coefficient.

The preconditioner diagonalises the constant-coefficient operator; the number of iterations grows
with the contrast of a (as the square root at worst) and not with the grid. A is symmetric, so the
adjoint of the solve is the same solve.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError
from sfm.progress import report
from sfm.simulate.fixed_point import implicit
from sfm.simulate.krylov import NotConverged, Operator, conjugate_gradients
from sfm_fluids.darcy.medium import Axis, Conductances, apply, eigenbasis


def singular(x: Axis, y: Axis) -> bool:
    """Whether no side fixes the pressure, so that it is known up to a constant only."""
    return "dirichlet" not in (x.first, x.last, y.first, y.last)


def preconditioner(x: Axis, y: Axis, like: Float[Tensor, " ..."]) -> Operator:
    """r (..., H, W) -> the solution for a = 1, of mean zero where it is known up to a constant."""
    (values_x, modes_x), (values_y, modes_y) = eigenbasis(x), eigenbasis(y)
    total = values_y.unsqueeze(1) + values_x
    inverse = torch.where(total > 1e-10 * total.max(), 1 / total, 0.0).to(like)
    modes_x, modes_y = modes_x.to(like), modes_y.to(like)
    return lambda r: modes_y @ ((modes_y.mT @ r @ modes_x) * inverse) @ modes_x.mT


def against(
    c: Conductances,
    x: Axis,
    y: Axis,
    *,
    where: str,
    tolerance: float = 1e-13,
    max_iterations: int = 2000,
) -> Operator:
    """b (..., H, W) -> p with A p = b; float64, no graph, batched over leading axes.

    Where no side fixes the pressure, the mean of b is dropped and p has mean zero.

    Raises:
        RunError: no convergence in `max_iterations`.
    """
    c = Conductances(c.x.detach(), c.y.detach())
    free = singular(x, y)

    def centred(u: Tensor) -> Tensor:
        return u - u.mean((-2, -1), keepdim=True)

    @torch.no_grad()
    def solve(b: Tensor) -> Tensor:
        inverse = preconditioner(x, y, b)
        b = b.expand(torch.broadcast_shapes(b.shape, c.x[..., :-1].shape))
        done = itertools.count()

        def product(p: Tensor) -> Tensor:
            report(f"{where}: conjugate gradients, iteration", next(done), max_iterations)
            return apply(p, c, x, y)

        try:
            return conjugate_gradients(
                product,
                b,
                precondition=inverse,
                project=centred if free else None,
                batch_axes=b.ndim - 2,
                tolerance=tolerance,
                accept=1e-9,  # rounding stopped it just short of the target
                max_iterations=max_iterations,
            ).x
        except NotConverged as error:
            raise RunError(
                f"{where}: conjugate gradients left a relative residual of {error.residual:.1e} "
                f"after {max_iterations} iterations: lower the contrast of the permeability"
            ) from None

    return solve


def solution(
    b: Float[Tensor, "*batch H W"], c: Conductances, x: Axis, y: Axis, *, where: str, order: int = 2
) -> Float[Tensor, "*batch H W"]:
    """p (..., H, W) with A p = b, which follows b and c in derivatives up to `order`.

    In forward and reverse mode.
    """
    solve = against(c, x, y, where=where)
    return implicit(
        solve(b.detach()),
        lambda p: apply(p, c, x, y) - b,
        solve=solve,
        symmetric=True,
        order=order,
        where=where,
    )
