"""The integration grid as a function of the nuclei: points, Becke weights, orbitals and densities.

A point moves with the atom whose grid it belongs to, an orbital with the atom it sits on. Their
values are those that the energy has used; derivatives of orbitals of any order are orbitals of one
order more (PySCF's up to four), not autograd through exponentials.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sfm_dft.grid import CHANNELS, Block, fields
from sfm_dft.integrals.becke import becke_weights, size_adjustment
from sfm_dft.integrals.orbitals import displacements
from sfm_dft.integrals.shells import monomials
from sfm_dft.molecule import Molecule
from sfm_dft.pieces import in_pieces
from sfm_dft.xc.density import GridDensity, GridPoints

WEIGHT_BYTES = 4_000_000


def moving_points(molecule: Molecule, positions: Tensor) -> Tensor:
    """Points (G, 3) of the grid, bohr."""
    grid = molecule.grid
    offsets = grid.points - molecule.positions[grid.owners]
    return positions[grid.owners] + offsets


def moving_weights(molecule: Molecule, positions: Tensor) -> Tensor:
    """Weights (G,) of the grid, bohr^3."""
    grid = molecule.grid
    if len(molecule.positions) == 1:
        return grid.weights
    points, adjustment = moving_points(molecule, positions), size_adjustment(molecule.numbers)

    def piece(part: slice, r: Tensor, points: Tensor) -> Tensor:
        shift = displacements(r, points[part])
        return becke_weights(shift, r, adjustment, grid.owners[part], grid.volumes[part])

    size = max(1, WEIGHT_BYTES // (8 * len(positions) ** 2))
    parts = [slice(start, start + size) for start in range(0, len(points), size)]
    pieces = [(part, partial(piece, part)) for part in parts]
    return in_pieces(grid.weights, pieces, positions, points)


def moving_density(
    molecule: Molecule, density_matrix: Tensor, positions: Tensor, rung: str, *, whole: bool
) -> tuple[GridDensity, Tensor]:
    """Spin densities of a density matrix (s, n, n) on the moving grid, and its weights (G,).

    whole: also the points themselves, for functionals that look further than one point.
    """
    channels, grid = CHANNELS[rung], molecule.grid
    points, weights = moving_points(molecule, positions), moving_weights(molecule, positions)
    orbitals = _Orbitals(molecule)
    pieces = []
    for block in grid.blocks:
        part = slice(block.start, block.start + block.orbitals.shape[1])
        pieces.append((part, partial(_densities, orbitals, block, part, channels)))
    with torch.no_grad():
        value = torch.stack([fields(row, grid, rung) for row in density_matrix])
    found = in_pieces(value, pieces, density_matrix, positions, points)
    place = None
    if whole:
        place = GridPoints(
            points=points,
            weights=weights,
            owners=grid.owners,
            positions=positions,
            numbers=molecule.numbers,
            molecule=torch.zeros_like(molecule.numbers),
        )
    density = GridDensity(
        rho=found[:, 0],
        gradient=found[:, 1:4] if channels > 1 else None,
        tau=found[:, 4] if channels > 4 else None,
        grid=place,
    )
    return density, weights


def _densities(
    orbitals: _Orbitals,
    block: Block,
    part: slice,
    channels: int,
    density_matrix: Tensor,
    positions: Tensor,
    points: Tensor,
) -> Tensor:
    """rho, its gradient and tau (s, c, g) of one block."""
    order = 0 if channels == 1 else 1
    chi = orbitals(order, block.functions, points[part], positions)  # (1 or 4, k, g)
    found = []
    for row in density_matrix:
        own = block.part(row)
        half = own @ chi[0]
        if channels == 1:
            found.append((chi[0] * half).sum(0, keepdim=True))
            continue
        slopes = chi[1:]
        lines = [(chi[0] * half).sum(0, keepdim=True), 2.0 * (slopes * half).sum(1)]
        if channels == 5:
            lines.append(0.5 * (slopes * (own @ slopes)).sum((0, 1))[None])
        found.append(torch.cat(lines))
    return torch.stack(found)


class _Orbitals:
    """Orbitals of one molecule and their derivatives, as functions of points and nuclei."""

    def __init__(self, molecule: Molecule):
        self._molecule = molecule.pyscf()
        atoms = np.zeros(self._molecule.nao, dtype=np.int64)
        for atom, (_, _, first, last) in enumerate(self._molecule.aoslice_by_atom()):
            atoms[first:last] = atom
        self._atoms = torch.tensor(atoms, device=molecule.positions.device)

    def __call__(
        self, order: int, functions: Tensor | None, points: Tensor, positions: Tensor
    ) -> Tensor:
        """All derivatives (c, k, g) up to an order, in the sequence 1, x, y, z, xx, xy, ..."""
        return cast(Tensor, _Jet.apply(self, order, functions, points, positions))

    def values(self, order: int, functions: Tensor | None, points: Tensor) -> Tensor:
        from pyscf import dft

        where = points.detach().cpu().numpy()
        found = dft.numint.eval_ao(self._molecule, where, deriv=order)
        found = found if order else found[None]
        values = torch.from_numpy(np.ascontiguousarray(found.transpose(0, 2, 1)))
        values = values.to(points.device)
        return values if functions is None else values.index_select(1, functions)

    def atoms(self, functions: Tensor | None) -> Tensor:
        return self._atoms if functions is None else self._atoms[functions]


class _Jet(torch.autograd.Function):
    """Moving the points and moving the nuclei back are the same: the derivative by both is the
    jet of one order more."""

    @staticmethod
    def forward(
        ctx: Any,
        orbitals: _Orbitals,
        order: int,
        functions: Tensor | None,
        points: Tensor,
        positions: Tensor,
    ) -> Tensor:
        ctx.orbitals, ctx.order, ctx.functions = orbitals, order, functions
        ctx.save_for_backward(points, positions)
        moves = any(ctx.needs_input_grad[3:])
        found = orbitals.values(order + moves, functions, points)
        ctx.next = found if moves else None
        return found[: _size(order)]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        points, positions = ctx.saved_tensors
        orbitals, order, functions = ctx.orbitals, ctx.order, ctx.functions
        jet = ctx.next
        if torch.is_grad_enabled():
            jet = orbitals(order + 1, functions, points, positions)
        atoms = orbitals.atoms(functions)
        along = torch.stack([(gradient * jet[row]).sum(0) for row in _raised(order)], -1)  # (k,g,3)
        by_atom = torch.zeros_like(positions).index_add(0, atoms, along.sum(1))
        return None, None, None, along.sum(0), -by_atom


def _size(order: int) -> int:
    return (order + 1) * (order + 2) * (order + 3) // 6


@cache
def _raised(order: int) -> list[list[int]]:
    """Where the derivative by x, by y and by z of every component up to an order stands."""
    all_ = [powers for k in range(order + 2) for powers in monomials(k)]
    index = {powers: k for k, powers in enumerate(all_)}
    lower = all_[: _size(order)]
    return [
        [index[tuple(p + (axis == k) for k, p in enumerate(powers))] for powers in lower]  # type: ignore[index]
        for axis in range(3)
    ]
