"""The integration grid with the orbitals on it, and the two linear maps between it and matrices.

    fields   D -> rho = chi D chi, grad rho = 2 (grad chi) D chi, tau = 1/2 grad chi . D grad chi
    adjoint  its transpose: derivatives of an energy by these fields -> its derivative by D

The two are each other's derivative, so that energies, potentials and their responses to any order
cost two matrix products and two passes over the orbitals each. Points come in blocks that stay in
a processor's cache, each with only those orbitals that reach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

BLOCK = 1024  # points: some MB with their orbitals
NEGLIGIBLE = 1e-13
CHANNELS = {"lda": 1, "gga": 4, "mgga": 5}


@dataclass(frozen=True, eq=False)
class Block:
    """Some points: orbitals (c, g, k) with c = 1 (values) or 4 (and derivatives by x, y, z), and
    which of the molecule's orbitals they are, (k,) or None for all."""

    start: int
    orbitals: Tensor
    functions: Tensor | None

    def part(self, matrix: Tensor) -> Tensor:
        """The rows and columns (k, k) of this block's orbitals."""
        if self.functions is None:
            return matrix
        return matrix[self.functions[:, None], self.functions]


@dataclass(frozen=True, eq=False)
class Grid:
    """Becke's grid of one molecule, atomic units.

    Attributes:
        points: (G, 3) bohr. weights: (G,) bohr^3.
        owners: (G,) atom whose grid a point belongs to. volumes: (G,) its weight in that atom's
            own grid, before Becke's partition; zero for points that only pad.
        blocks: the orbitals on it.
    """

    points: Tensor
    weights: Tensor
    owners: Tensor
    volumes: Tensor
    blocks: tuple[Block, ...]

    def to(self, device: torch.device | str) -> Grid:
        blocks = tuple(
            replace(
                block,
                orbitals=block.orbitals.to(device),
                functions=None if block.functions is None else block.functions.to(device),
            )
            for block in self.blocks
        )
        moved = {
            name: getattr(self, name).to(device)
            for name in ("points", "weights", "owners", "volumes")
        }
        return Grid(blocks=blocks, **moved)


def build_grid(molecule: Any, level: int, *, prune: bool, gradient: bool) -> Grid:
    """PySCF's Becke grid (Treutler-Ahlrichs radii, Lebedev angles) of a PySCF molecule.

    level: 0 coarse to 9 fine. prune: NWChem's. gradient: orbital derivatives too.
    """
    from pyscf import dft

    grid = dft.gen_grid.Grids(molecule)
    grid.level = level
    if not prune:
        grid.prune = None
    grid.build(with_non0tab=False)
    blocks = tuple(_blocks(molecule, grid.coords, gradient))
    return Grid(
        points=torch.tensor(grid.coords),
        weights=torch.tensor(grid.weights),
        owners=torch.tensor(np.maximum(grid.atm_idx, 0), dtype=torch.int64),
        volumes=torch.tensor(grid.quadrature_weights),
        blocks=blocks,
    )


def _blocks(molecule: Any, points: np.ndarray, gradient: bool) -> Iterator[Block]:
    from pyscf import dft

    for start in range(0, len(points), BLOCK):
        part = points[start : start + BLOCK]
        values = dft.numint.eval_ao(molecule, part, deriv=1 if gradient else 0)
        values = values if gradient else values[None]
        reach = np.abs(values).max((0, 1)) > NEGLIGIBLE
        functions = None if reach.all() else torch.tensor(np.flatnonzero(reach))
        kept = values if functions is None else values[:, :, reach]
        yield Block(start, torch.tensor(np.ascontiguousarray(kept)), functions)


def fields(density_matrix: Tensor, grid: Grid, rung: str) -> Tensor:
    """rho, its gradient and tau (c, G) of a symmetric density matrix (n, n); c by rung 1, 4 or 5.

    Differentiable in the density matrix to any order.
    """
    return cast(Tensor, _Fields.apply(density_matrix, grid, CHANNELS[rung]))


class _Fields(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, grid: Grid, channels: int) -> Tensor:
        ctx.grid, ctx.channels, ctx.size = grid, channels, d.shape[-1]
        out = d.new_empty(channels, len(grid.weights))
        for block in grid.blocks:
            chi, part = block.orbitals, block.part(d)
            place = out[:, block.start : block.start + chi.shape[1]]
            half = chi[0] @ part
            torch.sum(chi[: min(channels, 4)] * half, -1, out=place[:4])
            if channels == 5:
                turned = (chi[1:].flatten(0, 1) @ part).view_as(chi[1:])
                torch.sum(turned.mul_(chi[1:]), (0, 2), out=place[4])
        if channels > 1:
            out[1:4] *= 2.0
        if channels == 5:
            out[4] *= 0.5
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Adjoint.apply(gradient, ctx.grid, ctx.channels, ctx.size), None, None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, grid: Grid, channels: int, size: int) -> Tensor:
        ctx.grid, ctx.channels = grid, channels
        out = a.new_zeros(size, size)
        for block in grid.blocks:
            chi = block.orbitals
            weights = a[:, block.start : block.start + chi.shape[1], None]
            scaled = weights[0] * chi[0]
            for k in range(1, min(channels, 4)):
                scaled.addcmul_(weights[k], chi[k], value=2.0)
            matrix = chi[0].mT @ scaled
            if channels == 5:
                slopes = chi[1:]
                matrix.addmm_(slopes.flatten(0, 1).mT, (0.5 * weights[4] * slopes).flatten(0, 1))
            if block.functions is None:
                out += matrix
            else:
                out.index_put_((block.functions[:, None], block.functions), matrix, accumulate=True)
        return 0.5 * (out + out.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        symmetric = 0.5 * (gradient + gradient.mT)
        return _Fields.apply(symmetric, ctx.grid, ctx.channels), None, None, None
