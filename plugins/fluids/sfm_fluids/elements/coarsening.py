"""Coarser graphs of a mesh's points, for messages that go further than an edge.

A maximal independent set of the points is kept: no two are joined, and each other point is joined
to one that is kept, which it goes to. Two kept points are joined where an edge ran between their
groups. Again and again until few are left. Only numbers of points decide, no distances, so a mesh
that is turned, moved or made larger has the same coarser ones.

M. Luby, SIAM J. Comput. 15, 1036 (1986), for such sets; here they are found in the points' order.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

FEWEST = 4  # points that are still coarsened


def coarser(pairs: Int[Tensor, "e 2"], n: int) -> list[Int[Tensor, "_ 2"]]:
    """Edges of every coarser graph of n points, finest first, in the points' own numbers.

    Args:
        pairs: edges between points, each once.
    """
    levels: list[Tensor] = []
    kept = torch.arange(n)
    while len(kept) > FEWEST:
        place = torch.full((n,), -1)
        place[kept] = torch.arange(len(kept))
        group = kept[_groups(place[pairs], len(kept))]
        of_point = torch.full((n,), -1)
        of_point[kept] = group
        pairs = of_point[pairs]
        pairs = torch.unique(pairs[pairs[:, 0] != pairs[:, 1]].sort(1).values, dim=0)
        if not len(pairs):
            break
        levels.append(pairs)
        kept = torch.unique(group)
    return levels


def _groups(pairs: Tensor, n: int) -> Tensor:
    """(n,) the kept point that each of n points goes to, itself if it is kept."""
    both = torch.cat((pairs, pairs.flip(1)))
    both = both[both[:, 0].argsort(stable=True)]
    ends = torch.bincount(both[:, 0], minlength=n).cumsum(0).tolist()
    joined, group, first = both[:, 1].tolist(), [-1] * n, 0
    for point, end in enumerate(ends):
        if group[point] < 0:  # nobody who is kept is near
            group[point] = point
            for other in joined[first:end]:
                if group[other] < 0:
                    group[other] = point
        first = end
    return torch.tensor(group)
