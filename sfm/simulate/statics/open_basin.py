"""Open systems around a reference: displacements of atoms, without translations and rotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.data.tokens import system_sum
from sfm.simulate.statics.basin import Basin
from sfm.simulate.statics.rigid_motions import rigid_motions

RIGID = 6  # directions of a system, at most


class OpenBasin(Basin):
    """Displacements y (N, 3) angstrom of S open systems.

    Args:
        energy: (S,) eV of positions (N, 3) angstrom; does not change when a system moves or turns.
        positions: (N, 3) angstrom, the reference; may have a graph.
        system: (N,) index of each atom's system, ascending.
        free: (N, 3) false for coordinates that are fixed.
    """

    what: ClassVar[str] = "molecule"

    def __init__(
        self,
        energy: Callable[[Float[Tensor, "N 3"]], Float[Tensor, " S"]],
        positions: Float[Tensor, "N 3"],
        system: Int[Tensor, " N"],
        free: Bool[Tensor, "N 3"],
    ) -> None:
        self.potential, self.positions = energy, positions
        self.system, self.free = system, free
        self.count = int(system[-1]) + 1
        self.origin = torch.zeros_like(positions.detach())
        self.rigid = _padded(positions.detach(), system, free)

    def energy(self, y: Float[Tensor, "N 3"]) -> Float[Tensor, " S"]:
        """(S,) eV at the displacements y, (N, 3) angstrom."""
        return self.potential(self.positions + y)

    def project(self, y: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """y, (N, 3) angstrom, without what is fixed, translations and rotations."""
        y = y * self.free
        share = system_sum((y.unsqueeze(2) * self.rigid).sum(1), self.system, self.count)
        return y - (self.rigid * share[self.system].unsqueeze(1)).sum(2)

    def around(self, y: Float[Tensor, "N 3"]) -> OpenBasin:
        """The basin whose reference is at y, (N, 3) angstrom."""
        return OpenBasin(self.potential, (self.positions + y).detach(), self.system, self.free)


def _padded(positions: Tensor, system: Tensor, free: Tensor) -> Tensor:
    """(N, 3, 6) rigid motions of each system, zeros where there are fewer."""
    counts = torch.bincount(system).tolist()
    blocks = []
    for x, f in zip(positions.split(counts), free.split(counts), strict=True):
        motions = rigid_motions(x, x.new_ones(len(x)), f)
        block = x.new_zeros(x.numel(), RIGID)
        block[:, : motions.shape[1]] = motions
        blocks.append(block.view(-1, 3, RIGID))
    return torch.cat(blocks)
