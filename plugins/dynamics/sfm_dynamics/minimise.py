"""Minimising a loss without noise. Losses have no unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sfm.errors import RunError
from sfm.nn.descent import descend


def minimise(
    loss: Callable[[], Float[Tensor, ""]], weights: Sequence[Float[Tensor, " ..."]], iterations: int
) -> float:
    """Minimise a loss without noise by L-BFGS with Wolfe's conditions, in place; the last loss.

    Args:
        loss: () -> (), differentiable by `weights`.
        weights: leaf tensors that are changed.
        iterations: at most.

    Raises:
        RunError: the loss is not a finite number.
    """
    optimiser = torch.optim.LBFGS(
        list(weights),
        max_iter=iterations,
        history_size=50,
        tolerance_grad=1e-12,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )
    descend(nn.Module(), lambda _: loss(), work="minimisation", steps=1, optimizer=optimiser)
    return float(loss().detach())


def least_squares(
    residuals: Callable[[], Float[Tensor, " m"]],
    weights: Sequence[Float[Tensor, " ..."]],
    iterations: int,
    *,
    tolerance: float = 1e-12,
) -> float:
    """Minimise a sum of squares by Levenberg and Marquardt's method, in place; the last sum.

    The full Jacobian is formed: for some thousand residuals and weights. Networks that solve
    equations need it, because their losses are too badly conditioned for gradients alone.

    Args:
        residuals: () -> (m,), differentiable by `weights`.
        weights: leaf tensors that are changed, P numbers in all.
        iterations: Jacobians, at most.
        tolerance: sum of squares that is small enough.

    Raises:
        RunError: a residual is not finite at the start.

    Source: D. W. Marquardt, J. SIAM 11, 431 (1963), doi:10.1137/0111030; for networks that solve
    equations: J. Mueller, M. Zeinhofer, ICML (2023), arXiv:2302.13163.
    """
    place, damping = parameters_to_vector(weights).detach(), 1e-2
    values = residuals()
    total = float(values.detach().square().sum())
    if not math.isfinite(total):
        raise RunError("least squares: a residual is not finite at the start")
    for _ in range(iterations):
        eye = torch.eye(len(values), dtype=values.dtype, device=values.device)
        rows = torch.autograd.grad(values, weights, eye, is_grads_batched=True)
        jacobian = torch.cat([row.reshape(len(values), -1) for row in rows], 1)
        square, better = jacobian @ jacobian.T, False
        while not better and damping < 1e10:
            inner = torch.linalg.solve(square + damping * eye, values.detach())
            trial = place - jacobian.T @ inner
            vector_to_parameters(trial, weights)
            now = residuals()
            size = float(now.detach().square().sum())
            better = size < total
            if better:
                damping, total, values, place = max(damping / 4, 1e-14), size, now, trial
            else:
                vector_to_parameters(place, weights)
                damping *= 5
        if not better or total < tolerance:
            break
    return total
