"""Values and gradients of contracted spherical Gaussians at points, in PySCF's order.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.integrals.shells import Block, Shells, monomials, solid_harmonics


def orbital_values(
    shells: Shells, displacements: Float[Tensor, "3 A G"], *, gradient: bool = False
) -> Float[Tensor, "_ n G"]:
    """chi_mu(r) at G points: (1, n, G), or (4, n, G) with x, y, z derivatives.

    displacements: (3, A, G) of the points from each atom, bohr, so that derivatives with respect
    to points and atoms stay apart; differentiable.
    """
    parts = [_block(block, displacements, gradient) for block in shells.blocks]
    return torch.cat(parts, 1)[:, shells.order()]


def displacements(
    positions: Float[Tensor, "A 3"], points: Float[Tensor, "G 3"]
) -> Float[Tensor, "3 A G"]:
    """Points (G, 3) minus atoms (A, 3): (3, A, G)."""
    return points.mT[:, None] - positions.mT[:, :, None]


def _block(block: Block, displacement: Tensor, gradient: bool) -> Tensor:
    square = displacement.square().sum(0)
    d = displacement[:, block.atoms]  # (3, S, G)
    decay = torch.exp(-block.exponents[:, None] * square[block.atoms[block.shell]])
    weights = block.weights()[:, None]
    empty = decay.new_zeros(d.shape[1:])
    radial = empty.index_add(0, block.shell, weights * decay)[:, None]
    powers = [torch.ones_like(d), d]
    for _ in range(block.degree - 1):
        powers.append(powers[-1] * d)
    harmonics = solid_harmonics(block.degree).to(d.device)
    angular = _polynomials(powers, block.degree, harmonics, None)
    value = (radial * angular).flatten(0, 1)
    if not gradient:
        return value[None]
    slope = -2.0 * block.exponents[:, None] * weights * decay
    slope = empty.index_add(0, block.shell, slope)[:, None] * angular
    out = [value]
    for axis in range(3):
        along = slope * d[axis][:, None]
        if block.degree:
            along = along + radial * _polynomials(powers, block.degree, harmonics, axis)
        out.append(along.flatten(0, 1))
    return torch.stack(out)


def _polynomials(powers: list[Tensor], degree: int, harmonics: Tensor, axis: int | None) -> Tensor:
    """S_lm (S, 2l+1, G), or its derivative along one axis."""
    columns = []
    for exponents in monomials(degree):
        factor, powers_left = 1.0, list(exponents)
        if axis is not None:
            factor, powers_left[axis] = float(powers_left[axis]), max(powers_left[axis] - 1, 0)
        term = powers[powers_left[0]][0] * powers[powers_left[1]][1]
        columns.append(factor * term * powers[powers_left[2]][2])
    return torch.einsum("skg,km->smg", torch.stack(columns, 1), harmonics)
