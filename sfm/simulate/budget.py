"""Memory that rollouts may spend on not redoing steps in their backward pass.

A rollout keeps states. The fields on the way of a step are worth keeping while they are small: the
backward pass then need not redo the step. All graphs that are alive share one limit, so that long
rollouts, and many short ones, keep to the memory of their states and this.
"""

from __future__ import annotations

import os
import threading
import weakref

LIMIT = 64 << 20  # bytes


class Budget:
    """Bytes in use, and how many there may be."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._start()

    def _start(self) -> None:
        # a collection of garbage may give back in the midst of a call: the lock lets it in
        self.used, self._lock, self._process = 0, threading.RLock(), os.getpid()

    def take(self, size: int, count: int, owner: object) -> int:
        """For how many of `count` things of `size` bytes there is room; kept while `owner` lives.

        Things without a size (0) have no room. What was taken before a process forked counts in
        the parent alone.
        """
        if size <= 0:
            return 0
        if self._process != os.getpid():
            self._start()
        with self._lock:
            granted = max(0, min(count, (self.limit - self.used) // size))
            self.used += granted * size
        if granted:
            weakref.finalize(owner, self._give_back, granted * size, self._process)
        return granted

    def _give_back(self, size: int, process: int) -> None:
        if process != os.getpid() or process != self._process:
            return
        with self._lock:
            self.used -= size


BUDGET = Budget()
