"""Matrices of Gaussian integrals in PySCF's order: overlap, kinetic, dipole, nuclear, Coulomb.

All are differentiable in positions, exponents, contraction coefficients and charges of their
`Shells`. Atomic units.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.integrals.batches import matrix
from sfm_dft.integrals.hermite import Kernel, Pairs, pairs, points, singles
from sfm_dft.integrals.shells import Shells, monomials


def overlap(shells: Shells) -> Float[Tensor, "n n"]:
    """<mu|nu>, (n, n)."""
    return _symmetric(shells, lambda pair: _separable(pair, [pair.moments()[..., 0]] * 3))


def dipole(shells: Shells) -> Float[Tensor, "3 n n"]:
    """<mu|r|nu> about the origin, (3, n, n)."""

    def one(pair: Pairs) -> Tensor:
        e = pair.moments(1)[..., 0]
        plain = e[..., :-1]
        moved = e[..., 1:] + pair.centre_b[:, :, None, None] * plain
        return torch.stack([_separable(pair, _one_of(plain, moved, k)) for k in range(3)], -1)

    return _symmetric(shells, one).permute(2, 0, 1)


def kinetic(shells: Shells) -> Float[Tensor, "n n"]:
    """<mu|-1/2 nabla^2|nu>, (n, n)."""

    def one(pair: Pairs) -> Tensor:
        e = pair.moments(2)[..., 0]
        plain, b = e[..., :-2], pair.b[:, None, None, None]
        j = torch.arange(plain.shape[-1], dtype=e.dtype, device=e.device)
        lower = torch.nn.functional.pad(plain, (2, 0))[..., : plain.shape[-1]]
        moved = b * (2 * j + 1) * plain - 2 * b.square() * e[..., 2:] - 0.5 * j * (j - 1) * lower
        return sum(  # type: ignore[return-value]
            _separable(pair, _one_of(plain, moved, k)) for k in range(3)
        )

    return _symmetric(shells, one)


def nuclear(
    shells: Shells, charges: Float[Tensor, " C"], positions: Float[Tensor, "C 3"] | None = None
) -> Float[Tensor, "n n"]:
    """-sum_C Z_C <mu|1/|r - R_C||nu>, (n, n).

    charges: (C,) in e. positions: (C, 3) bohr, the atoms of the basis if left out.
    """
    ket = points(shells.positions if positions is None else positions, -charges)

    def one(pair: Pairs) -> Tensor:
        integrals = matrix(pair.distribution(), ket).sum((2, 3))
        block: Tensor = integrals.unflatten(1, (pair.left.width, pair.right.width))
        return block

    return _symmetric(shells, one)


def two_centre(auxiliary: Shells) -> Float[Tensor, "P P"]:
    """Coulomb integrals (P|Q), (P, P) of the auxiliary functions."""
    sets = [singles(auxiliary, block) for block in auxiliary.blocks]
    lines = [
        torch.cat([matrix(bra, ket).flatten(2).flatten(0, 1) for ket in sets], 1) for bra in sets
    ]
    order = auxiliary.order()
    return torch.cat(lines)[order][:, order]


def three_centre(shells: Shells, auxiliary: Shells) -> Float[Tensor, "n n P"]:
    """Coulomb integrals (mu nu|P), (n, n, aux)."""
    rows, place = packed_three_centre(shells, auxiliary)
    return rows[place]


def three_centre_overlap(shells: Shells, auxiliary: Shells) -> Float[Tensor, "n n P"]:
    """Overlaps of three functions, (n, n, aux)."""
    rows, place = packed_three_centre(shells, auxiliary, "overlap")
    return rows[place]


def fitted_factors(shells: Shells, auxiliary: Shells) -> Float[Tensor, "P n n"]:
    """L_P (aux, n, n) with (mu nu|la si) ~ sum_P L_P,mn L_P,ls: Coulomb-metric density fitting."""
    rows, place = packed_three_centre(shells, auxiliary)
    triangle = torch.linalg.cholesky(two_centre(auxiliary))
    factors: Tensor = torch.linalg.solve_triangular(triangle, rows.mT, upper=False)[:, place]
    return factors


def packed_three_centre(
    shells: Shells, auxiliary: Shells, kernel: Kernel = "coulomb"
) -> tuple[Float[Tensor, "R P"], Int[Tensor, "n n"]]:
    """Distinct rows (R, aux) of three-centre integrals, and which row is (mu, nu): (n, n)."""
    kets = [singles(auxiliary, block) for block in auxiliary.blocks]

    def one(pair: Pairs) -> Tensor:
        bra = pair.distribution()
        integrals = torch.cat([matrix(bra, ket, kernel).flatten(2) for ket in kets], 2)
        block: Tensor = integrals.unflatten(1, (pair.left.width, pair.right.width))
        return block

    rows, place = _packed(shells, one)
    return rows[:, auxiliary.order()], place


def block_pairs(shells: Shells) -> Iterator[Pairs]:
    """Every pair of blocks once."""
    for k, left in enumerate(shells.blocks):
        for right in shells.blocks[: k + 1]:
            yield pairs(shells, left, right)


def _packed(shells: Shells, one: Callable[[Pairs], Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of every pair of blocks, one below the other, and where (mu, nu) stands in them."""
    place = torch.zeros(shells.size, shells.size, dtype=torch.int64, device=shells.positions.device)
    parts, start = [], 0
    for pair in block_pairs(shells):
        values = one(pair).flatten(0, 2)
        mu, nu = pair.functions()
        number = torch.arange(start, start + len(values), device=place.device).reshape(mu.shape)
        place[mu, nu] = number
        place[nu, mu] = number
        parts.append(values)
        start += len(values)
    return torch.cat(parts), place


def _symmetric(shells: Shells, one: Callable[[Pairs], Tensor]) -> Tensor:
    rows, place = _packed(shells, one)
    return rows[place]


def _one_of(plain: Tensor, moved: Tensor, axis: int) -> list[Tensor]:
    return [moved if k == axis else plain for k in range(3)]


def _separable(pair: Pairs, tables: list[Tensor]) -> Tensor:
    """Products of one-dimensional integrals (M, 3, l_a + 1, l_b + 1) of each axis, contracted:
    (groups, 2 l_a + 1, 2 l_b + 1)."""
    product = (pair.weight * (math.pi / pair.p) ** 1.5)[:, None, None]
    for axis in range(3):
        i = torch.tensor([powers[axis] for powers in monomials(pair.left.degree)])
        j = torch.tensor([powers[axis] for powers in monomials(pair.right.degree)])
        product = product * tables[axis][:, axis, i[:, None], j]
    spherical = pair.spherical(product)
    empty = spherical.new_zeros(pair.groups, *spherical.shape[1:])
    return empty.index_add(0, pair.group, spherical)
