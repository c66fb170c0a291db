"""Minimising a loss without noise. Losses have no unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sfm.nn.descent import descend


def minimise(loss: Callable[[], Tensor], weights: Sequence[Tensor], iterations: int) -> float:
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
    residuals: Callable[[], Tensor],
    weights: Sequence[Tensor],
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

    Source: D. W. Marquardt, J. SIAM 11, 431 (1963), doi:10.1137/0111030; for networks that solve
    equations: J. Mueller, M. Zeinhofer, ICML (2023), arXiv:2302.13163.
    """
    weights, damping = list(weights), 1e-2
    values = residuals()
    total = float(values.detach().square().sum())
    for _ in range(iterations):
        eye = torch.eye(len(values), dtype=values.dtype, device=values.device)
        rows = torch.autograd.grad(values, weights, eye, is_grads_batched=True)
        jacobian = torch.cat([row.reshape(len(values), -1) for row in rows], 1)
        square, better = jacobian @ jacobian.T, False
        while not better and damping < 1e10:
            inner = torch.linalg.solve(square + damping * eye, values.detach())
            step = jacobian.T @ inner
            _move(weights, step, -1.0)
            now = residuals()
            size = float(now.detach().square().sum())
            better = size < total
            if better:
                damping, total, values = max(damping / 4, 1e-14), size, now
            else:
                _move(weights, step, 1.0)
                damping *= 5
        if not better or total < tolerance:
            break
    return total


def _move(weights: Sequence[Tensor], step: Tensor, sign: float) -> None:
    """Add `sign` times a step (P,) to the weights."""
    parts = step.split([w.numel() for w in weights])
    with torch.no_grad():
        for weight, part in zip(weights, parts, strict=True):
            weight += sign * part.reshape(weight.shape)
