"""Integrals between two sets of charge distributions, in pieces that fit into memory.

`matrix` gives every integral between contracted functions; `interaction` only one number, the
energy of two densities, which needs no transformation back to functions and is what forces
differentiate. With more than one piece, each is recomputed in backward, so that memory stays that
of one piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sfm_dft.integrals.hermite import Distribution, Kernel, derivatives, sums

PIECE_BYTES = 8_000_000


def matrix(bra: Distribution, ket: Distribution, kernel: Kernel = "coulomb") -> Tensor:
    """Integrals (bra groups, bra width, ket groups, ket width).

    The ket's expansion must be one for all its primitives (`singles` or `points`).
    """
    rows, signs = sums(bra.lowest, bra.highest, ket.lowest, ket.highest, bra.centres.device)
    pattern = ket.expansion[0] * signs

    def piece(centres: Tensor, exponents: Tensor, expansion: Tensor, group: Tensor) -> Tensor:
        r = derivatives(centres, exponents, bra.highest, ket, kernel, ket.scale)
        wanted = r.index_select(1, rows.flatten()).unflatten(1, rows.shape)
        done = torch.bmm(expansion, wanted.flatten(2)).flatten(1)
        first = int(group[0])
        summed = done.new_zeros(int(group[-1]) - first + 1, done.shape[1])
        summed = summed.index_add(0, group - first, done)
        summed = summed.unflatten(1, (expansion.shape[1], rows.shape[1], -1))
        turned = torch.einsum("gwcn,kc->gwnk", summed, pattern)
        if ket.groups == len(ket.centres):
            return turned
        empty = turned.new_zeros(*turned.shape[:2], ket.groups, turned.shape[3])
        return empty.index_add(2, ket.group, turned)

    coefficients = bra.coefficients()
    total = bra.centres.new_zeros(bra.groups, coefficients.shape[1], ket.groups, len(pattern))
    for part, group in _pieces(bra, ket, rows.numel()):
        found = _run(piece, *_arguments(bra, coefficients, part), group, single=_all(bra, group))
        target = torch.arange(int(group[0]), int(group[-1]) + 1, device=group.device)
        total.index_add_(0, target, found)
    return total


def interaction(bra: Distribution, ket: Distribution, kernel: Kernel = "coulomb") -> Tensor:
    """Energy of two densities (`Distribution.weighted`), (), summed over all primitives."""
    rows, signs = sums(bra.lowest, bra.highest, ket.lowest, ket.highest, bra.centres.device)
    weights = (ket.coefficients()[:, 0] * signs).mT

    def piece(centres: Tensor, exponents: Tensor, expansion: Tensor, group: Tensor) -> Tensor:
        r = derivatives(centres, exponents, bra.highest, ket, kernel)
        wanted = r.index_select(1, rows.flatten()).reshape(len(r), len(rows), -1)
        field = torch.bmm(expansion, wanted)
        return (field.reshape(len(r), *weights.shape) * weights).sum()

    coefficients = bra.coefficients()
    total = bra.centres.new_zeros(())
    for part, group in _pieces(bra, ket, rows.numel()):
        arguments = _arguments(bra, coefficients, part)
        total = total + _run(piece, *arguments, group, single=_all(bra, group))
    return total


def _arguments(
    bra: Distribution, coefficients: Tensor, part: slice
) -> tuple[Tensor, Tensor, Tensor]:
    assert bra.exponents is not None
    return bra.centres[part], bra.exponents[part], coefficients[part]


def _all(bra: Distribution, group: Tensor) -> bool:
    return len(group) == len(bra.group)


def _run(function: Callable[..., Tensor], *arguments: Tensor, single: bool) -> Tensor:
    if single or not torch.is_grad_enabled():
        return function(*arguments)
    return checkpoint(  # type: ignore[no-any-return]
        function, *arguments, use_reentrant=False, preserve_rng_state=False
    )


def _pieces(
    bra: Distribution, ket: Distribution, combinations: int
) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the bra's primitives (sorted by group), of about `PIECE_BYTES` of work each."""
    numbers = math.comb(bra.highest + ket.highest + 4, 4) + combinations
    size = max(1, PIECE_BYTES // (8 * numbers * max(1, len(ket.centres))))
    for start in range(0, len(bra.group), size):
        part = slice(start, start + size)
        yield part, bra.group[part]
