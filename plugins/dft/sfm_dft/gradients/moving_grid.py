"""The integration grid as a function of the nuclei: points, Becke weights, orbitals and densities.

A point moves with the atom whose grid it belongs to, an orbital with the atom it sits on. Their
values are those that the energy has used; derivatives of orbitals of any order are orbitals of one
order more (`sfm_dft.grid.orbital_derivatives`), not autograd through exponentials.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.autograd import Function
from sfm_dft.gradients.piecewise_derivatives import in_pieces
from sfm_dft.grid.becke import becke_weights, size_adjustment
from sfm_dft.grid.molecular import CHANNELS, Block, fields, partition_size
from sfm_dft.grid.orbital_derivatives import Jets, size
from sfm_dft.integrals.orbitals import displacements
from sfm_dft.integrals.shells import monomials
from sfm_dft.scf.molecule import Molecule
from sfm_dft.xc.density import GridDensity, GridPoints


def moving_points(molecule: Molecule, positions: Float[Tensor, "A 3"]) -> Float[Tensor, "G 3"]:
    """Points (G, 3) of the grid, bohr."""
    grid = molecule.grid
    offsets = grid.points - molecule.positions[grid.owners]
    return positions[grid.owners] + offsets


def moving_weights(molecule: Molecule, positions: Float[Tensor, "A 3"]) -> Float[Tensor, " G"]:
    """Weights (G,) of the grid, bohr^3."""
    grid = molecule.grid
    if len(molecule.positions) == 1:
        return grid.weights
    points, adjustment = moving_points(molecule, positions), size_adjustment(molecule.numbers)

    def piece(part: slice, r: Tensor, points: Tensor) -> Tensor:
        shift = displacements(r, points[part])
        return becke_weights(shift, r, adjustment, grid.owners[part], grid.volumes[part])

    count = partition_size(positions)
    parts = [slice(start, start + count) for start in range(0, len(points), count)]
    pieces = [(part, partial(piece, part)) for part in parts]
    return in_pieces(grid.weights, pieces, positions, points)


def moving_density(
    molecule: Molecule,
    density_matrix: Float[Tensor, "s n n"],
    positions: Float[Tensor, "A 3"],
    rung: str,
    *,
    whole: bool,
) -> tuple[GridDensity, Float[Tensor, " G"]]:
    """Spin densities of a density matrix (s, n, n) on the moving grid, and its weights (G,).

    whole: also the points themselves, for functionals that look further than one point.
    """
    channels, grid = CHANNELS[rung], molecule.grid
    points, weights = moving_points(molecule, positions), moving_weights(molecule, positions)
    pieces = [
        (block.points, partial(_densities, grid.jets, block, channels)) for block in grid.blocks
    ]
    with torch.no_grad():
        value = torch.stack([fields(row, grid, rung) for row in density_matrix])
    ordered = torch.stack([grid.sort(row) for row in density_matrix])
    on_grid = in_pieces(value, pieces, ordered, positions, points)
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
        rho=on_grid[:, 0],
        gradient=on_grid[:, 1:4] if channels > 1 else None,
        tau=on_grid[:, 4] if channels > 4 else None,
        grid=place,
    )
    return density, weights


def _densities(
    jets: Jets,
    block: Block,
    channels: int,
    density_matrix: Tensor,
    positions: Tensor,
    points: Tensor,
) -> Tensor:
    """rho, its gradient and tau (s, c, g) of one block."""
    order = 0 if channels == 1 else 1
    chi = _jet(jets, order, block, points[block.points], positions)  # (1 or 4, k, g)
    rows = []
    for row in density_matrix:
        matrix = block.part(row)
        half = matrix @ chi[0]
        if channels == 1:
            rows.append((chi[0] * half).sum(0, keepdim=True))
            continue
        slopes = chi[1:]
        lines = [(chi[0] * half).sum(0, keepdim=True), 2.0 * (slopes * half).sum(1)]
        if channels == 5:
            lines.append(0.5 * (slopes * (matrix @ slopes)).sum((0, 1))[None])
        rows.append(torch.cat(lines))
    return torch.stack(rows)


def _jet(jets: Jets, order: int, block: Block, points: Tensor, positions: Tensor) -> Tensor:
    """A block's orbitals and their derivatives up to an order, (c, k, g), in the sequence of
    `Jets`, as functions of points and nuclei."""
    return cast(Tensor, _Jet.apply(jets, order, block, points, positions))


class _Jet(Function):
    """Moving the points and moving the nuclei back are the same: the derivative by both is the
    jet of one order more."""

    @staticmethod
    def forward(
        ctx: Any, jets: Jets, order: int, block: Block, points: Tensor, positions: Tensor
    ) -> Tensor:
        ctx.jets, ctx.order, ctx.block = jets, order, block
        ctx.save_for_backward(points, positions)
        moves = any(ctx.needs_input_grad[3:])
        derivatives = jets(order + moves, points, positions, block.shells)
        ctx.next = derivatives if moves else None
        return derivatives[: size(order)]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        points, positions = ctx.saved_tensors
        jets, order, block = ctx.jets, ctx.order, ctx.block
        jet = ctx.next
        if torch.is_grad_enabled():
            jet = _jet(jets, order + 1, block, points, positions)
        atoms = jets.atoms if block.functions is None else jets.atoms[block.functions]
        by_function, by_point = [], []
        for rows in _raised(order):
            along = gradient[0] * jet[rows[0]]  # (k, g)
            for slope, row in zip(gradient[1:], rows[1:], strict=True):
                along = torch.addcmul(along, slope, jet[row])
            by_function.append(along.sum(1))
            by_point.append(along.sum(0))
        by_atom = torch.zeros_like(positions).index_add(0, atoms, torch.stack(by_function, 1))
        return None, None, None, torch.stack(by_point, 1), -by_atom


@cache
def _raised(order: int) -> list[list[int]]:
    """Where the derivative by x, by y and by z of every component up to an order stands."""
    all_ = [powers for k in range(order + 2) for powers in monomials(k)]
    index = {powers: k for k, powers in enumerate(all_)}
    lower = all_[: size(order)]
    return [
        [index[tuple(p + (axis == k) for k, p in enumerate(powers))] for powers in lower]  # type: ignore[index]
        for axis in range(3)
    ]
