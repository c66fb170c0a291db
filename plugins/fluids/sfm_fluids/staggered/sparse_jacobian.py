"""The Jacobian, with respect to a stream function, of the circulation of a flow's forces.

A corner's equation depends on corners up to two away along each axis, so corners of one colour,
five apart, are moved together: 25 evaluations in one batch give the whole sparse matrix. The
equations are quadratic, so that central differences are exact.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from torch import Tensor

from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.grid import StaggeredGrid

REACH = 2


class Unknowns:
    """Free corners of a grid, and the uniform flow of a periodic channel as one more unknown.

    Attributes:
        uniform: whether there is that one more unknown, the last.
        size: how many there are.
    """

    def __init__(self, grid: StaggeredGrid) -> None:
        self.grid = grid
        self.shape = (grid.y.n_faces, grid.x.n_faces)
        free_y, free_x = (axis.metrics().free.bool() for axis in (grid.y, grid.x))
        self.free = (free_y[:, None] & free_x).reshape(-1)
        self.uniform = grid.x.periodic and grid.y.kind == "walls"
        self.corners = int(self.free.sum())
        self.size = self.corners + self.uniform
        self.numbers = np.full(self.free.numel(), -1)
        self.numbers[self.free.numpy()] = np.arange(self.corners)

    def split(
        self, z: Float[Tensor, "*B n"]
    ) -> tuple[Float[Tensor, "*B Ny Nx"], Float[Tensor, "*B"] | None]:
        """(stream function at all corners (..., N_y, N_x), uniform speed) of unknowns (..., n)."""
        psi = z.new_zeros(*z.shape[:-1], self.free.numel())
        psi[..., self.free] = z[..., : self.corners]
        return psi.unflatten(-1, self.shape), z[..., -1] if self.uniform else None

    def joined(
        self, psi: Float[Tensor, "*B Ny Nx"], mean: Float[Tensor, "*B"] | None
    ) -> Float[Tensor, "*B n"]:
        """The other way round, (..., n)."""
        z = psi.flatten(-2)[..., self.free]
        return z if mean is None else torch.cat((z, mean[..., None]), -1)

    def jacobian(
        self,
        function: Callable[[Float[Tensor, "*B n"]], Float[Tensor, "*B n"]],
        z: Float[Tensor, " n"],
    ) -> sparse.csc_matrix:
        """Derivative of `function` (..., n) -> (..., n), at most quadratic, at z (n,)."""
        colours = [_colours(axis) for axis in (self.grid.y, self.grid.x)]
        moves, sources = [], []
        for member_y, source_y in zip(*colours[0], strict=True):
            for member_x, source_x in zip(*colours[1], strict=True):
                moves.append(np.outer(member_y, member_x).reshape(-1))
                ok = np.outer(source_y >= 0, source_x >= 0)
                flat = source_y[:, None] * self.shape[1] + source_x
                sources.append(np.where(ok, flat, -1).reshape(-1))
        step = torch.from_numpy(np.stack(moves).astype(np.float64))[:, self.free]
        if self.uniform:
            step = torch.cat((step, step.new_zeros(len(step), 1)), 1)
            step = torch.cat((step, step.new_zeros(1, self.size)), 0)
            step[-1, -1] = 1
        response = 0.5 * (function(z + step) - function(z - step))
        free = self.free.numpy()
        rows, columns, values = [], [], []
        for answer, source in zip(response.numpy(), sources, strict=False):
            column = np.where(source >= 0, self.numbers[source], -1)[free]
            hit = column >= 0
            rows.append(np.arange(self.corners)[hit])
            columns.append(column[hit])
            values.append(answer[: self.corners][hit])
        if self.uniform:
            everything = np.arange(self.size)
            rows += [everything, np.full(self.corners, self.size - 1)]
            columns += [np.full(self.size, self.size - 1), everything[:-1]]
            values += [response[-1].numpy(), self._last_row(function, z)]
        triplets = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return sparse.csc_matrix(triplets, shape=(self.size, self.size))

    def _last_row(self, function: Callable[[Tensor], Tensor], z: Tensor) -> np.ndarray:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (row,) = torch.autograd.grad(function(z)[-1], z)
        return row[:-1].numpy()


def _colours(axis: Axis) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Members of each colour among the faces, and the member within reach of each face (or -1)."""
    n, period = axis.n_faces, 2 * REACH + 1
    whole = n - n % period if axis.periodic else n
    colour = np.arange(n) % period
    colour[whole:] = period + np.arange(n - whole)
    members, sources = [], []
    for c in range(colour.max() + 1):
        chosen = colour == c
        source = np.full(n, -1)
        for i in np.flatnonzero(chosen):
            near = np.arange(i - REACH, i + REACH + 1)
            near = near % n if axis.periodic else near[(near >= 0) & (near < n)]
            source[near] = i
        members.append(chosen)
        sources.append(source)
    return members, sources
