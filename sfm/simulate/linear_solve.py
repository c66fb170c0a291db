"""Solutions of linear systems A(theta) x = b, differentiable in theta and b.

    dx = A^-1 (db - dA x),        backward: g -> lambda = A^-T g, then b' = lambda, A' = -lambda x^T

One more solve per derivative, with the adjoint, by the same method (`sfm.simulate.krylov`); no
iteration is stored.

Source: M. B. Giles, Collected matrix derivative results for forward and reverse mode algorithmic
differentiation, in Advances in Automatic Differentiation (Springer, 2008), matrix inverse product.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm.simulate.fixed_point import implicit
from sfm.simulate.krylov import Method, Operator, conjugate_gradients, gmres


def solve(
    operator: Operator,
    b: Inexact[Tensor, "*unknowns"],
    *,
    symmetric: bool = False,
    method: Method | None = None,
    transposed: Operator | None = None,
    precondition: Operator | None = None,
    precondition_transposed: Operator | None = None,
    order: int = 1,
    batch_axes: int = 0,
    where: str = "linear solve",
    **options: Any,
) -> Inexact[Tensor, "*unknowns"]:
    """x with A x = b, which follows b and all that `operator` holds under differentiation.

    Args:
        operator: v -> A v, linear, differentiable in whatever tensors it holds.
        b: (..., *unknowns).
        symmetric: whether A is self-adjoint (and positive definite, for the default method).
        method: of `sfm.simulate.krylov`; None: `conjugate_gradients` if symmetric, else `gmres`.
        transposed: v -> A^T v; None: made from `operator` by autograd.
        precondition: v -> M v with M close to A^-1.
        precondition_transposed: v -> M^T v; None: the adjoint solve goes without.
        order: highest derivative that will be asked for.
        batch_axes: how many leading axes count independent systems.
        where: what is solved, for messages.
        options: of the method: `tolerance`, `max_iterations`, ...

    Returns:
        x, of the shape of b.

    Raises:
        InputError: a derivative of a higher order is taken.
        RunError: no convergence, here or in the backward pass (`krylov.NotConverged`,
            `Indefinite`, `NotFinite`).
    """
    chosen = method or (conjugate_gradients if symmetric else gmres)
    options |= {"batch_axes": batch_axes, "where": where}

    def forward(r: Tensor) -> Tensor:
        return chosen(operator, r, precondition=precondition, **options).x

    def backward(r: Tensor) -> Tensor:
        product = transposed or _transpose(operator, r)
        return chosen(product, r, precondition=precondition_transposed, **options).x

    return implicit(
        forward(b.detach()),
        lambda x: operator(x) - b,
        solve=forward,
        adjoint=forward if symmetric else backward,
        order=order,
        where=where,
    )


def _transpose(operator: Operator, like: Tensor) -> Operator:
    """v -> A^T v."""
    with torch.enable_grad():
        at = torch.zeros_like(like, requires_grad=True)
        image = operator(at)

    def product(v: Tensor) -> Tensor:
        return torch.autograd.grad(image, at, v, retain_graph=True)[0]

    return product
