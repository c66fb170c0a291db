"""Exponential time differencing of fourth order for u' = L u + N(u) with a small matrix L per mode.

Where L couples a few fields of one wavenumber, its exponential and phi functions are matrices. They
are made by Taylor series and repeated doubling (H. Berland, B. Skaflestad and W. M. Wright, ACM
Trans. Math. Softw. 33, 4 (2007)), which needs no eigenvectors: it is exact for coinciding and zero
eigenvalues and smooth in the entries of L. The step is that of S. M. Cox and P. C. Matthews,
J. Comput. Phys. 176, 430 (2002), in increment form: fixed points of the whole equation stay fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor


class Coefficients(NamedTuple):
    """Factors of one step, (..., n, n, H, K)."""

    half_decay: Tensor  # exp(L dt / 2) - 1
    decay: Tensor  # exp(L dt) - 1
    half: Tensor  # dt/2 phi1(L dt / 2)
    first: Tensor  # weight of N(u)
    middle: Tensor  # weight of N(a) + N(b)
    last: Tensor  # weight of N(c)


def matrix_phi(
    z: Float[Tensor, "*B n n"],
) -> tuple[Float[Tensor, "*B n n"], Float[Tensor, "*B n n"], Float[Tensor, "*B n n"]]:
    """phi_1, phi_2, phi_3 of matrices (..., n, n): phi_n(z) = sum_m z^m / (m + n)!.

    z: float64. All matrices are scaled by the same power of two, below norm 1.
    """
    size = float(z.detach().abs().sum(-1).max())
    doublings = max(0, math.ceil(math.log2(size))) if size > 0 else 0
    y = z / 2.0**doublings
    one = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    p3 = torch.zeros_like(y) + one / math.factorial(19)
    for m in range(15, -1, -1):
        p3 = y @ p3 + one / math.factorial(m + 3)
    p2 = y @ p3 + 0.5 * one
    p1 = y @ p2 + one
    for _ in range(doublings):
        p3 = (p1 @ p2 + 2 * p3 + p2) / 8
        p2 = (p1 @ p1 + 2 * p2) / 4
        p1 = p1 + 0.5 * y @ p1 @ p1  # (exp(y) + 1) phi_1 / 2
        y = 2 * y
    return p1, p2, p3


def coefficients(
    linear: Float[Tensor, "*B n n H K"], dt: float, dtype: torch.dtype
) -> Coefficients:
    """Coefficients of a step of size `dt`, made in float64 and cast to `dtype`.

    linear: float64 (..., n, n, H, K). Differentiable in `linear`.
    """
    z = linear.double().movedim((-4, -3), (-2, -1)) * dt
    p1, p2, p3 = matrix_phi(z)
    h1 = matrix_phi(z / 2)[0]
    factors = (
        0.5 * z @ h1,
        z @ p1,
        0.5 * dt * h1,
        dt * (p1 - 3 * p2 + 4 * p3),
        dt * 2 * (p2 - 2 * p3),
        dt * (4 * p3 - p2),
    )
    return Coefficients(*(c.movedim((-2, -1), (-4, -3)).to(dtype).contiguous() for c in factors))


def apply(
    matrix: Float[Tensor, "... n n H K"], u: Complex[Tensor, "*B n H K"]
) -> Complex[Tensor, "*B n H K"]:
    """Matrices (..., n, n, H, K) times vectors (..., n, H, K)."""
    total = matrix[..., :, 0, :, :] * u[..., 0:1, :, :]
    for j in range(1, u.shape[-3]):
        total = total + matrix[..., :, j, :, :] * u[..., j : j + 1, :, :]
    return total


def step(
    u: Complex[Tensor, "*B n H K"],
    nonlinear: Callable[[Complex[Tensor, "*B n H K"]], Complex[Tensor, "*B n H K"]],
    factors: Sequence[Float[Tensor, " ..."]],
) -> Complex[Tensor, "*B n H K"]:
    """One step of u (..., n, H, K); `nonlinear` is evaluated four times."""
    c = Coefficients(*factors)
    n_u = nonlinear(u)
    decayed = apply(c.half_decay, u)
    a = u + (decayed + apply(c.half, n_u))
    n_a = nonlinear(a)
    b = u + (decayed + apply(c.half, n_a))
    n_b = nonlinear(b)
    e = a + (apply(c.half_decay, a) + apply(c.half, 2 * n_b - n_u))
    n_e = nonlinear(e)
    increment = apply(c.decay, u) + apply(c.first, n_u) + apply(c.last, n_e)
    return u + (increment + apply(c.middle, n_a + n_b))
