"""The self-consistent density as a differentiable function of the potential's other inputs.

With n = F(v[n, theta]), chi = dF/dv and f = dv/dn,

    dn = (1 - chi f)^-1 chi dv|_theta,   backward: g -> chi y with (1 - f chi) y = g.

One linear solve by GMRES for the whole batch; no unrolling, no eigenvectors differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sfm.errors import RunError

Map = Callable[[Tensor], Tensor]


class FixedPointDensity(torch.autograd.Function):
    """Returns `density`; backward gives the gradient to the potential at fixed density."""

    @staticmethod
    def forward(ctx: Any, explicit: Tensor, density: Tensor, chi: Map, kernel: Map) -> Tensor:
        ctx.chi, ctx.kernel = chi, kernel
        return density.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        g = gradients[0]
        y = gmres(lambda w: w - ctx.kernel(ctx.chi(w)), g)
        return ctx.chi(y), None, None, None


def gmres(operator: Map, right: Tensor, *, tolerance: float = 1e-10, limit: int = 120) -> Tensor:
    """Solve operator(y) = right (B, n) for each row.

    Raises:
        RunError: not solved to 1e-6 within `limit` applications; the state may be unstable.
    """
    norm = right.norm(dim=1)
    scale = torch.where(norm > 0, norm, torch.ones_like(norm))
    basis = [right / scale[:, None]]
    batch = len(right)
    hessenberg = right.new_zeros(batch, limit + 1, limit)
    coefficients, residual = right.new_zeros(batch, 1, 1), torch.ones_like(norm)
    for step in range(limit):
        w = operator(basis[step])
        for _ in range(2):  # twice is enough
            q = torch.stack(basis, dim=1)
            h = torch.einsum("bkn,bn->bk", q, w)
            hessenberg[:, : step + 1, step] += h
            w = w - torch.einsum("bkn,bk->bn", q, h)
        length = w.norm(dim=1)
        hessenberg[:, step + 1, step] = length
        basis.append(w / length.clamp_min(1e-300)[:, None])
        left = hessenberg[:, : step + 2, : step + 1]
        unit = right.new_zeros(batch, step + 2, 1)
        unit[:, 0] = 1.0
        coefficients = torch.linalg.lstsq(left, unit, driver="gelsd").solution
        residual = (left @ coefficients - unit).norm(dim=(1, 2))
        if bool((residual < tolerance).all()) or bool((length < 1e-14).all()):
            break
    if bool((residual[norm > 0] > 1e-6).any()):
        raise RunError(
            f"the response of the density did not converge (residual {float(residual.max()):.1e}):"
            " this self-consistent state is close to an instability"
        )
    q = torch.stack(basis[:-1], dim=1)
    return torch.einsum("bkn,bk->bn", q, coefficients[:, :, 0]) * norm[:, None]
