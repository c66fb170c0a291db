"""Filling batches to a budget of tokens and edges. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

Cost = tuple[int, int]  # tokens, edges


@dataclass
class Budget:
    """What a batch may hold, and what it holds.

    Attributes:
        tokens, edges: at most so many; None: any number of edges.
        used: (tokens, edges) so far.
    """

    tokens: int
    edges: int | None = None
    used: Cost = (0, 0)

    def fits(self, cost: Cost) -> bool:
        """Whether a system of (tokens, edges) has room left."""
        tokens, edges = self.used[0] + cost[0], self.used[1] + cost[1]
        return tokens <= self.tokens and (self.edges is None or edges <= self.edges)

    def take(self, cost: Cost) -> None:
        """Count a system of (tokens, edges), whether it fits or not."""
        self.used = self.used[0] + cost[0], self.used[1] + cost[1]


def filled(
    items: Iterable[T], cost: Callable[[T], Cost], *, tokens: int, edges: int | None = None
) -> Iterator[list[T]]:
    """All items, in order, in lists that keep to a budget; what exceeds it alone comes alone.

    Args:
        items: taken one by one, as the lists are asked for.
        cost: (tokens, edges) of an item.
        tokens, edges: the budget of a list.

    >>> list(filled([3, 4, 5, 20, 1], lambda n: (n, 0), tokens=8))
    [[3, 4], [5], [20], [1]]
    """
    chunk: list[T] = []
    budget = Budget(tokens, edges)
    for item in items:
        size = cost(item)
        if chunk and not budget.fits(size):
            yield chunk
            chunk, budget = [], Budget(tokens, edges)
        chunk.append(item)
        budget.take(size)
    if chunk:
        yield chunk
