"""A x = b on the unknowns of a mesh: sparse LU, and derivatives by the adjoint.

A is the sum of element matrices. The factors of a solve serve its adjoint (with A transposed), so
a gradient costs two triangular solves; nothing of the factorisation is differentiated.

Source of the adjoint: `sfm.simulate.fixed_point`. Any consistent system of units.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from sfm.errors import RunError
from sfm.simulate.fixed_point import implicit

SINGULAR = 1e-14  # smallest pivot over the largest
RESIDUAL = 1e-6  # largest residual of a solve, over that of x = 0


def product(
    matrices: Float[Tensor, "m k k"], cells: Int[Tensor, "m k"], x: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """A x, element by element; differentiable to any order."""
    local = torch.einsum("mij,mj->mi", matrices, x[cells])
    return torch.zeros_like(x).index_add(0, cells.flatten(), local.flatten())


def assembled(
    vectors: Float[Tensor, "m k"], cells: Int[Tensor, "m k"], size: int
) -> Float[Tensor, " n"]:
    """The vector (n,) that element vectors (m, k) add up to."""
    return vectors.new_zeros(size).index_add(0, cells.flatten(), vectors.flatten())


def sparse(matrices: Float[Tensor, "m k k"], cells: Int[Tensor, "m k"], size: int) -> csc_matrix:
    """A (n, n), detached, float64; what several triangles say of a pair is summed."""
    numbers = cells.cpu().numpy()
    k = numbers.shape[1]
    rows = np.repeat(numbers, k, axis=1).ravel()
    columns = np.tile(numbers, (1, k)).ravel()
    entries = matrices.detach().double().cpu().numpy().ravel()
    return coo_matrix((entries, (rows, columns)), shape=(size, size)).tocsc()


def solution(
    matrices: Float[Tensor, "m k k"],
    cells: Int[Tensor, "m k"],
    b: Float[Tensor, " n"],
    fixed: Bool[Tensor, " n"],
    values: Float[Tensor, " n"],
    *,
    where: str,
    order: int = 2,
) -> Float[Tensor, " n"]:
    """x with A x = b where it is free and x = values where it is fixed.

    Differentiable in matrices, b and values up to `order`, in forward and reverse mode.

    Args:
        matrices: of each triangle.
        cells: the unknowns of each triangle.
        b: right-hand side.
        fixed: which unknowns are known.
        values: what they are; the others are not read.
        where: what is solved, for messages.
        order: highest derivative that will be asked for.

    Raises:
        RunError: A is singular on what is free, as where nothing fixes the solution.
    """
    free = torch.nonzero(~fixed)[:, 0]
    known = torch.where(fixed, values, torch.zeros_like(values))
    whole = known.new_zeros(len(known))

    def spread(x: Tensor) -> Tensor:
        return known + whole.index_add(0, free, x)

    def residual(x: Tensor) -> Tensor:
        return (product(matrices, cells, spread(x)) - b)[free]

    factors = _Factors(matrices, cells, free, where)
    with torch.no_grad():
        first = residual(b.new_zeros(len(free)))
        x = -factors.solve(first)
        x = x - factors.solve(residual(x))  # one refinement
        if not bool(residual(x).norm() <= RESIDUAL * first.norm()):
            raise RunError(f"{where}: the system is singular: fix the solution somewhere")
    x = implicit(
        x, residual, solve=factors.solve, adjoint=factors.adjoint, order=order, where=where
    )
    return spread(x)


class _Factors:
    """Sparse LU of the free part of A."""

    def __init__(self, matrices: Tensor, cells: Tensor, free: Tensor, where: str) -> None:
        a = sparse(matrices, cells, int(cells.max()) + 1)
        keep = free.cpu().numpy()
        try:
            self.lu: Any = splu(a[keep][:, keep].tocsc())
        except RuntimeError as error:
            raise RunError(f"{where}: {error}: fix the solution somewhere") from None
        pivots = np.abs(self.lu.U.diagonal())  # of the equilibrated matrix
        if pivots.min() < SINGULAR * pivots.max():
            raise RunError(f"{where}: the system is singular: fix the solution somewhere")

    def _back(self, r: Tensor, mode: str) -> Tensor:
        x: np.ndarray = self.lu.solve(r.detach().double().cpu().numpy(), trans=mode)
        return torch.from_numpy(x).to(r)

    def solve(self, r: Tensor) -> Tensor:
        return self._back(r, "N")

    def adjoint(self, r: Tensor) -> Tensor:
        return self._back(r, "T")
