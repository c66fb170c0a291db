"""Padded neighbour lists: a layout of tokens and edges that makes sums over neighbours dense.

Edges are stored in blocks: the tokens of a block lie together and have `width` edges each, real
ones first, then padding. So the edges of a block are a (tokens, width, ...) view, and a sum over
neighbours is a matrix product per token (`sfm.nn.density`). Tokens of one context lie together
too, in the order of their number of neighbours, which keeps the padding small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

BLOCK_COST = 64  # edges whose work takes as long as the overhead of one more block
MAX_STEPS = 48  # distinct numbers of neighbours that are looked at


@dataclass(frozen=True)
class Block:
    """`tokens` tokens that have `width` edges each, padding included."""

    tokens: int
    width: int


@dataclass(frozen=True)
class Neighbourhoods:
    """How the tokens and edges of a batch are laid out.

    Attributes:
        order: (N,) the tokens of the batch in the order of the layout.
        place: (N,) its inverse.
        edge: (E',) which edge of the batch lies here; any edge where there is padding.
        real: (E',) bool, False for padding.
        sender: (E',) in the order of the layout.
        receiver: (E',) in the order of the layout.
        blocks: of tokens, and of the edges that they receive.
        runs: which run of tokens each block belongs to.
    """

    order: Int[Tensor, " N"]
    place: Int[Tensor, " N"]
    edge: Int[Tensor, " E"]
    real: Bool[Tensor, " E"]
    sender: Int[Tensor, " E"]
    receiver: Int[Tensor, " E"]
    blocks: tuple[Block, ...]
    runs: tuple[int, ...]

    @classmethod
    def of(cls, edges: Int[Tensor, "2 E"], runs: Sequence[int]) -> Neighbourhoods:
        """The layout for edges sorted by receiver; `runs`: numbers of tokens that stay together."""
        device, n = edges.device, sum(runs)
        sender, receiver = edges
        degree = torch.bincount(receiver, minlength=n)
        run = torch.repeat_interleave(torch.tensor(runs, device=device))
        order = torch.argsort(run * (int(degree.max()) + 1 if n else 1) + degree, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(n, device=device)
        degree_there = degree[order]
        blocks: list[Block] = []
        run_of_block: list[int] = []
        for number, degrees in enumerate(degree_there.cpu().split(list(runs))):
            blocks += (cuts := divide(degrees.numpy()))
            run_of_block += [number] * len(cuts)
        width = torch.repeat_interleave(
            torch.tensor([b.width for b in blocks], device=device),
            torch.tensor([b.tokens for b in blocks], device=device),
        )
        there = torch.repeat_interleave(width)
        slot = torch.arange(len(there), device=device) - (width.cumsum(0) - width)[there]
        real = slot < degree_there[there]
        first = (degree.cumsum(0) - degree)[order]
        edge = torch.where(real, first[there] + slot, 0)
        return cls(
            order=order,
            place=place,
            edge=edge,
            real=real,
            sender=place[sender[edge]],
            receiver=there,
            blocks=tuple(blocks),
            runs=tuple(run_of_block),
        )


def divide(degree: Int[np.ndarray, " N"]) -> list[Block]:
    """Blocks for tokens with ascending numbers (N,) of neighbours: least padding plus cost."""
    if not len(degree):
        return []
    ends = np.append(np.flatnonzero(np.diff(degree)) + 1, len(degree))
    if len(ends) > MAX_STEPS:
        ends = ends[np.linspace(0, len(ends) - 1, MAX_STEPS).round().astype(int)]
    starts = np.append(0, ends)
    best, last = np.zeros(len(starts)), np.zeros(len(starts), dtype=int)
    for k in range(1, len(starts)):
        costs = best[:k] + (starts[k] - starts[:k]) * int(degree[starts[k] - 1]) + BLOCK_COST
        last[k] = int(np.argmin(costs))
        best[k] = costs[last[k]]
    blocks: list[Block] = []
    k = len(starts) - 1
    while k:
        blocks.append(Block(int(starts[k] - starts[last[k]]), int(degree[starts[k] - 1])))
        k = int(last[k])
    return blocks[::-1]
