"""All ordered pairs of atoms within each molecule of a batch, and whole matrices from blocks.

Matrices in hartree, or whatever unit the blocks have.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm_dft.fock.basis import WIDTH


@dataclass(frozen=True)
class Pairs:
    """All P ordered pairs (i, j), A^2 of a molecule with A atoms, molecule by molecule.

    Attributes:
        first, second: (P,) rows of i and j in the batch's list of atoms.
        reverse: (P,) where the pair (j, i) stands.
        molecule: (P,) index of the molecule.
        local: (2, P) i and j counted within their molecule.
        counts: (M,) atoms of each molecule.
    """

    first: Int[Tensor, " P"]
    second: Int[Tensor, " P"]
    reverse: Int[Tensor, " P"]
    molecule: Int[Tensor, " P"]
    local: Int[Tensor, "2 P"]
    counts: Int[Tensor, " M"]

    @staticmethod
    def of(counts: Int[Tensor, " M"]) -> Pairs:
        """Pairs of molecules with `counts` (M,) atoms; row i of a molecule comes before row i+1."""
        size = counts.square()
        molecule = torch.repeat_interleave(torch.arange(len(counts)), size)
        start = (size.cumsum(0) - size)[molecule]
        atoms, place = counts[molecule], torch.arange(int(size.sum())) - start
        i, j = place // atoms, place % atoms
        offset = (counts.cumsum(0) - counts)[molecule]
        return Pairs(
            first=offset + i,
            second=offset + j,
            reverse=start + j * atoms + i,
            molecule=molecule,
            local=torch.stack([i, j]),
            counts=counts,
        )

    def whole(self, blocks: Float[Tensor, "P 5 5"]) -> Float[Tensor, "M size size"]:
        """Blocks (P, 5, 5) -> matrices (M, 5 A, 5 A), A the largest molecule's; zero beyond."""
        largest = int(self.counts.max())
        out = blocks.new_zeros(len(self.counts), largest, largest, WIDTH, WIDTH)
        out = out.index_put((self.molecule, *self.local), blocks)
        return out.transpose(2, 3).reshape(len(self.counts), WIDTH * largest, WIDTH * largest)
