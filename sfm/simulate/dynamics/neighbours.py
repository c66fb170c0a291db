"""Pairs of particles within a cutoff, from a list with a skin that is rebuilt only when needed.

The list holds all pairs within cutoff + skin (L. Verlet, Phys. Rev. 159, 98, 1967). It serves until
two particles could have come within the cutoff that are not on it: until twice the largest
displacement, after a change of the cell has been taken out, exceeds what is left of the skin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.data.neighbours import half_neighbour_list, neighbour_list


@dataclass(frozen=True, eq=False)
class Pairs:
    """Each pair once, in an order that does not depend on when the list was built.

    Attributes:
        first, second: (P,) indices of particles; the pair is of `first` and an image of `second`.
        shifts: (P, 3) that image, in lattice vectors, in the positions' dtype.
        system: (P,) the pair's system.
        cell: (S, 3, 3) angstrom, when the list was built.
        offsets: (3, P) angstrom, `shifts` in that cell.
    """

    first: Int[Tensor, " P"]
    second: Int[Tensor, " P"]
    shifts: Float[Tensor, "P 3"]
    system: Int[Tensor, " P"]
    cell: Float[Tensor, "S 3 3"]
    offsets: Float[Tensor, "3 P"]

    def offsets_in(self, cell: Float[Tensor, "S 3 3"]) -> Float[Tensor, "3 P"]:
        """(3, P) angstrom, `shifts` in cells (S, 3, 3); differentiable."""
        if not cell.requires_grad and torch.equal(cell, self.cell):
            return self.offsets
        return _offsets(self.shifts, cell, self.system)

    def vectors(
        self, positions: Float[Tensor, "N 3"], cell: Float[Tensor, "S 3 3"]
    ) -> Float[Tensor, "P 3"]:
        """(P, 3) angstrom, from the first to the second's image; differentiable."""
        away = positions.index_select(0, self.second) - positions.index_select(0, self.first)
        return away + self.offsets_in(cell).T


def _offsets(shifts: Tensor, cell: Tensor, system: Tensor) -> Tensor:
    if len(cell) == 1:
        return cell[0].T @ shifts.T
    return torch.einsum("pi,pij->jp", shifts, cell[system])


def half_list(
    positions: Float[Tensor, "N 3"],
    cell: Float[Tensor, "S 3 3"],
    system: Int[Tensor, " N"],
    cutoff: float,
) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"], Float[Tensor, "P 3"]]:
    """Pairs closer than `cutoff`, periodic in three directions, each once.

    Args:
        positions: (N, 3) angstrom. cell: (S, 3, 3) angstrom. system: (N,) ascending.

    Returns:
        (P,) first, (P,) second, (P, 3) shifts of the second in lattice vectors.
    """
    periodic = torch.ones(len(cell), dtype=torch.bool)
    (first, second), shifts = _of_each(
        half_neighbour_list, positions, cell, periodic, system, cutoff
    )
    return first, second, shifts


def full_list(
    positions: Float[Tensor, "N 3"],
    cell: Float[Tensor, "S 3 3"],
    periodic: Bool[Tensor, " S"],
    system: Int[Tensor, " N"],
    cutoff: float,
) -> tuple[Int[Tensor, "2 E"], Float[Tensor, "E 3"]]:
    """All ordered pairs closer than `cutoff` angstrom, sorted by receiver.

    Args:
        positions: (N, 3) angstrom. cell: (S, 3, 3) angstrom. periodic: (S,) whether a system is,
            in three directions; the cell of an open one is not looked at. system: (N,) ascending.

    Returns:
        (2, E) sender and receiver, (E, 3) shifts of the sender in lattice vectors.
    """
    return _of_each(neighbour_list, positions, cell, periodic, system, cutoff)


def _of_each(
    search: Callable[..., Any],
    positions: Tensor,
    cell: Tensor,
    periodic: Tensor,
    system: Tensor,
    cutoff: float,
) -> tuple[Tensor, Tensor]:
    """(2, P) pairs and (P, 3) shifts of a search in each system."""
    parts, images, offset = [], [], 0
    points, boxes = positions.detach().cpu().double().numpy(), cell.detach().cpu().double().numpy()
    counts = torch.bincount(system, minlength=len(cell)).tolist()
    for box, around, count in zip(boxes, periodic.tolist(), counts, strict=True):
        here = points[offset : offset + count]
        pairs, shift = search(here, cutoff, box if around else None, around)
        parts.append(torch.from_numpy(pairs) + offset)
        images.append(torch.from_numpy(shift))
        offset += count
    device, dtype = positions.device, positions.dtype
    return torch.cat(parts, dim=1).to(device), torch.cat(images).to(device, dtype)


class VerletList:
    """Pairs within a cutoff for positions that move little from call to call.

    Args:
        skin: angstrom beyond the cutoff.
    """

    def __init__(self, skin: float) -> None:
        self.skin = skin
        self.builds = 0
        self._reach = 0.0
        self._pairs: Pairs | None = None
        self._origin: tuple[Tensor, Tensor, Tensor] | None = None

    def __call__(self, positions: Tensor, cell: Tensor, system: Tensor, cutoff: float) -> Pairs:
        """All pairs closer than `cutoff`, and some that are farther.

        Args:
            positions: (N, 3) angstrom, not wrapped. cell: (S, 3, 3). system: (N,) ascending.
        """
        x, h = positions.detach(), cell.detach()
        if self._pairs is None or not self._serves(x, h, system, cutoff):
            self._pairs = self._build(x, h, system, cutoff)
        return self._pairs

    def at_hand(
        self,
        positions: Float[Tensor, "N 3"],
        cell: Float[Tensor, "S 3 3"],
        system: Int[Tensor, " N"],
        cutoff: float,
    ) -> Pairs | None:
        """As a call, where the list as it is serves; None where it would have to be rebuilt.

        Args:
            positions: (N, 3) angstrom, not wrapped. cell: (S, 3, 3). system: (N,) ascending.
        """
        x, h = positions.detach(), cell.detach()
        return self._pairs if self._serves(x, h, system, cutoff) else None

    def _build(self, positions: Tensor, cell: Tensor, system: Tensor, cutoff: float) -> Pairs:
        self._reach = cutoff + self.skin
        first, second, shifts = half_list(positions, cell, system, self._reach)
        owner, cell = system[first], cell.clone()
        self._origin = (positions.clone(), cell, system)
        self.builds += 1
        offsets = _offsets(shifts, cell, owner).contiguous()
        return Pairs(first, second, shifts, owner, cell, offsets)

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
