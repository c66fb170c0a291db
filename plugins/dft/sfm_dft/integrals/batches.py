"""Integrals between two sets of charge distributions, in pieces that fit into memory.

`matrix` gives every integral between contracted functions; `interaction` only one number, the
energy of two densities, which needs no transformation back to functions and is what forces
differentiate. With more than one piece, each is recomputed in backward, so that memory stays that
of one piece.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.simulate.recompute import recomputed
from sfm_dft.integrals.hermite import Distribution, Ends, Kernel, derivatives, sums

PIECE_BYTES = 8_000_000


def matrix(
    bra: Distribution, ket: Distribution, kernel: Kernel = "coulomb"
) -> Float[Tensor, "B b K k"]:
    """Integrals (B, b, K, k) of B bra groups of width b and K ket groups of width k."""
    rows, signs = sums(bra.lowest, bra.highest, ket.lowest, ket.highest, bra.centres.device)
    same = len(ket.expansion) == 1  # for all primitives, as in `singles` and `points`
    pattern = ket.expansion[0] * signs
    weights = ket.scale if same else ket.coefficients() * signs

    def piece(
        group: Tensor, first: Ends, second: Ends, expansion: Tensor, weights: Tensor
    ) -> Tensor:
        scale = weights if same else None
        r = derivatives(first, bra.highest, second, ket.highest, kernel, scale)
        blocks = r.index_select(1, rows.flatten()).unflatten(1, rows.shape)
        done = torch.bmm(expansion, blocks.flatten(2)).flatten(1)
        start = int(group[0])
        summed = done.new_zeros(int(group[-1]) - start + 1, done.shape[1])
        summed = summed.index_add(0, group - start, done)
        summed = summed.unflatten(1, (expansion.shape[1], rows.shape[1], -1))
        if same:
            turned = torch.einsum("gwcn,kc->gwnk", summed, pattern)
        else:
            turned = torch.einsum("gwcn,nkc->gwnk", summed, weights)
        if ket.groups == len(ket.centres):
            return turned
        empty = turned.new_zeros(*turned.shape[:2], ket.groups, turned.shape[3])
        return empty.index_add(2, ket.group, turned)

    coefficients = bra.coefficients()
    total = bra.centres.new_zeros(bra.groups, coefficients.shape[1], ket.groups, len(pattern))
    for part in _pieces(bra, ket, rows.numel()):
        group = bra.group[part]
        integrals = _run(partial(piece, group), bra, ket, part, coefficients, weights)
        target = torch.arange(int(group[0]), int(group[-1]) + 1, device=group.device)
        total.index_add_(0, target, integrals)
    return total


def interaction(
    bra: Distribution, ket: Distribution, kernel: Kernel = "coulomb"
) -> Float[Tensor, ""]:
    """Energy of two densities (`Distribution.weighted`), (), summed over all primitives."""
    rows, signs = sums(bra.lowest, bra.highest, ket.lowest, ket.highest, bra.centres.device)

    def piece(first: Ends, second: Ends, expansion: Tensor, weights: Tensor) -> Tensor:
        r = derivatives(first, bra.highest, second, ket.highest, kernel)
        blocks = r.index_select(1, rows.flatten()).reshape(len(r), len(rows), -1)
        field = torch.bmm(expansion, blocks)
        return (field.reshape(len(r), *weights.shape) * weights).sum()

    coefficients = bra.coefficients()
    weights = (ket.coefficients()[:, 0] * signs).mT
    total = bra.centres.new_zeros(())
    for part in _pieces(bra, ket, rows.numel()):
        total = total + _run(piece, bra, ket, part, coefficients, weights)
    return total


def _run(
    piece: Callable[[Ends, Ends, Tensor, Tensor], Tensor],
    bra: Distribution,
    ket: Distribution,
    part: slice,
    coefficients: Tensor,
    weights: Tensor,
) -> Tensor:
    """One piece; recomputed in backward where it is one of several."""
    assert bra.exponents is not None

    def function(*x: Tensor) -> Tensor:
        second = (x[4], x[5] if len(x) > 5 else None)
        return piece((x[0], x[1]), second, x[2], x[3])

    inputs = [bra.centres[part], bra.exponents[part], coefficients[part], weights, ket.centres]
    if ket.exponents is not None:
        inputs.append(ket.exponents)
    if len(inputs[0]) == len(bra.group):
        return function(*inputs)
    return recomputed(function, *inputs)


def _pieces(bra: Distribution, ket: Distribution, combinations: int) -> Iterator[slice]:
    """Slices of the bra's primitives (sorted by group), of about `PIECE_BYTES` of work each."""
    numbers = math.comb(bra.highest + ket.highest + 4, 4) + combinations
    size = max(1, PIECE_BYTES // (8 * numbers * max(1, len(ket.centres))))
    for start in range(0, len(bra.group), size):
        yield slice(start, start + size)
