"""Memory that rollouts may spend on not redoing steps in their backward pass.

A rollout keeps states. The fields on the way of a step are worth keeping while they are small: the
backward pass then need not redo the step. All graphs that are alive share one limit, so that long
rollouts, and many short ones, keep to the memory of their states and this.
"""

from __future__ import annotations

import threading
import weakref

LIMIT = 64 << 20  # bytes


class Budget:
    """Bytes in use, and how many there may be."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit, self.used = limit, 0
        self._lock = threading.Lock()

    def take(self, size: int, count: int, owner: object) -> int:
        """For how many of `count` things of `size` bytes there is room; kept while `owner` lives.

        Things without a size (0) have no room.
        """
        if size <= 0:
            return 0
        with self._lock:
            granted = max(0, min(count, (self.limit - self.used) // size))
            self.used += granted * size
        if granted:
            weakref.finalize(owner, self._give_back, granted * size)
        return granted

    def _give_back(self, size: int) -> None:
        with self._lock:
            self.used -= size


BUDGET = Budget()
