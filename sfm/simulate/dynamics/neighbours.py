"""Pairs of particles within a cutoff, from a list with a skin that is rebuilt only when needed.

The list holds all pairs within cutoff + skin (L. Verlet, Phys. Rev. 159, 98, 1967). It serves until
two particles could have come within the cutoff that are not on it: until twice the largest
displacement, after a change of the cell has been taken out, exceeds what is left of the skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfm.data.neighbours import neighbour_list


@dataclass(frozen=True, eq=False)
class Pairs:
    """Each pair once, in an order that does not depend on when the list was built.

    Attributes:
        first, second: (P,) indices of particles; the pair is of `first` and an image of `second`.
        shifts: (P, 3) that image, in lattice vectors, in the positions' dtype.
        system: (P,) the pair's system.
        vectors: (P, 3) angstrom, from the first to the second's image; differentiable.
    """

    first: Tensor
    second: Tensor
    shifts: Tensor
    system: Tensor
    vectors: Tensor


def half_list(
    positions: Tensor, cell: Tensor, system: Tensor, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs closer than `cutoff`, periodic in three directions, each once.

    Args:
        positions: (N, 3) angstrom. cell: (S, 3, 3) angstrom. system: (N,) ascending.

    Returns:
        (P,) first, (P,) second, (P, 3) shifts of the second in lattice vectors.
    """
    parts, offset = [], 0
    points, boxes = positions.detach().cpu().double().numpy(), cell.detach().cpu().double().numpy()
    counts = torch.bincount(system, minlength=len(cell)).tolist()
    for box, count in zip(boxes, counts, strict=True):
        edges, shift = neighbour_list(points[offset : offset + count], cutoff, box, True)
        second, first = edges
        # of a particle with its own images, one of each two opposite ones
        x, y, z = shift.T
        ahead = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
        once = (first < second) | ((first == second) & ahead)
        parts.append((first[once] + offset, second[once] + offset, shift[once]))
        offset += count
    first, second, shifts = (
        torch.cat([torch.from_numpy(part[k]) for part in parts]).to(positions.device)
        for k in range(3)
    )
    return first, second, shifts.to(positions.dtype)


class VerletList:
    """Pairs within a cutoff for positions that move little from call to call.

    Args:
        skin: angstrom beyond the cutoff.
    """

    def __init__(self, skin: float) -> None:
        self.skin = skin
        self.builds = 0
        self._reach = 0.0
        self._origin: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, positions: Tensor, cell: Tensor, system: Tensor, cutoff: float) -> Pairs:
        """All pairs closer than `cutoff`, and some that are farther.

        Args:
            positions: (N, 3) angstrom, not wrapped. cell: (S, 3, 3). system: (N,) ascending.
        """
        if not self._serves(positions.detach(), cell.detach(), system, cutoff):
            self._build(positions.detach(), cell.detach(), system, cutoff)
        if cell.requires_grad or not self._same_cell(cell):
            offsets = torch.einsum("pi,pij->pj", self._shifts, cell[self._system])
        else:
            offsets = self._offsets
        first, second = self._first, self._second
        vectors = positions.index_select(0, second) - positions.index_select(0, first) + offsets
        return Pairs(first, second, self._shifts, self._system, vectors)

    def _same_cell(self, cell: Tensor) -> bool:
        assert self._origin is not None
        return torch.equal(cell.detach(), self._origin[1])

    def _build(self, positions: Tensor, cell: Tensor, system: Tensor, cutoff: float) -> None:
        self._first, self._second, self._shifts = half_list(
            positions, cell, system, cutoff + self.skin
        )
        self._system = system[self._first]
        self._offsets = torch.einsum("pi,pij->pj", self._shifts, cell[self._system])
        self._reach = cutoff + self.skin
        self._origin = (positions.clone(), cell.clone(), system)
        self.builds += 1

    def _serves(self, positions: Tensor, cell: Tensor, system: Tensor, cutoff: float) -> bool:
        if self._origin is None:
            return False
        x, h, owner = self._origin
        if (x.shape, x.dtype, x.device) != (positions.shape, positions.dtype, positions.device):
            return False
        if h.shape != cell.shape or not (owner is system or torch.equal(owner, system)):
            return False
        room = torch.as_tensor(self._reach - cutoff, dtype=x.dtype)
        if not torch.equal(h, cell):
            change = torch.linalg.solve(h, cell)  # x changes to x @ change with the cell
            x = torch.einsum("ni,nij->nj", x, change[system])
            smallest = torch.linalg.svdvals(change)[:, -1].min()
            room = smallest * self._reach - cutoff
        moved = (positions - x).square().sum(1).max()
        return bool((room > 0) & (4 * moved < room.square()))  # a NaN rebuilds
