"""Pairs of blocks of shells: what two-electron terms are summed over, block by block.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.integrals.batches import interaction
from sfm_dft.integrals.hermite import Distribution, Kernel, Pairs, pairs, singles
from sfm_dft.integrals.shells import Shells


def block_pairs(shells: Shells) -> list[tuple[int, int]]:
    """Every pair of blocks once."""
    return [(i, j) for i in range(len(shells.blocks)) for j in range(i + 1)]


def pair_density(
    shells: Shells, numbers: tuple[int, int], total: Float[Tensor, "n n"]
) -> Distribution:
    """The part of the electron density, of `total` (n, n), that two blocks make."""
    pair = pair_of(shells, numbers)
    mu, nu = pair.functions()
    return pair.distribution().weighted((multiplicity(mu, nu) * total[mu, nu]).flatten(1))


def pair_of(shells: Shells, numbers: tuple[int, int]) -> Pairs:
    """The pairs of shells of two blocks, by the blocks' numbers."""
    return pairs(shells, shells.blocks[numbers[0]], shells.blocks[numbers[1]])


def multiplicity(
    mu: Int[Tensor, "groups a b"], nu: Int[Tensor, "groups a b"]
) -> Float[Tensor, "groups 1 1"]:
    """How often a pair of shells counts, (groups, 1, 1): those of one shell hold both orders."""
    return torch.where(mu[:, 0, 0] == nu[:, 0, 0], 1.0, 2.0).to(torch.float64)[:, None, None]


def against(
    bra: Distribution, shells: Shells, weights: Float[Tensor, " size"], kernel: Kernel
) -> Float[Tensor, ""]:
    """Interaction of one density with sum_P c_P chi_P; weights (size,) in PySCF's order."""
    out = bra.centres.new_zeros(())
    for block in shells.blocks:
        rows = weights[places(block)]
        out = out + interaction(bra, singles(shells, block).weighted(rows), kernel)
    return out


def places(block: Any) -> Int[Tensor, "shells n"]:
    """Numbers (shells, n) of a block's functions, n to a shell."""
    return cast(
        Tensor, block.offsets[:, None] + torch.arange(block.width, device=block.offsets.device)
    )
