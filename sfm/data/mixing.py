"""Which samples come next: temperature sampling over tasks, filled to a budget. No torch.

The order is a pure function of (sizes, temperature, seed): task i gets the share

    p_i ~ (D_i / D)^(1 / T)

of the draws, spread evenly (the task that is furthest behind its share comes next), and inside a
task every epoch is a new permutation. (Training gives its own shares: those of the formula as
shares of tokens.) So the state is a few numbers, and restores exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from sfm.data.budget import Budget
from sfm.errors import InputError


def shares(sizes: Sequence[int], temperature: float) -> Float[np.ndarray, " tasks"]:
    """Share (tasks,) of each task, dimensionless: p_i ~ (D_i / D)^(1/T), T = 1 is by size.

    >>> shares([100, 10_000], temperature=2.0).round(3).tolist()
    [0.091, 0.909]
    """
    logs = np.log(np.asarray(sizes, dtype=np.float64)) / temperature
    weights = np.exp(logs - logs.max())
    share: np.ndarray = weights / weights.sum()
    return share


@dataclass(frozen=True)
class Draw:
    """One system: sample `index` of task `task`."""

    task: int
    index: int


class Mixture:
    """An endless, deterministic sequence of draws from several tasks.

    Args:
        sizes: number of samples of each task.
        temperature: T; ignored where `probabilities` are given.
        seed: of the permutations.
        probabilities: shares of the tasks, if not those of the temperature.

    Raises:
        InputError: a task has no sample.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        temperature: float = 1.0,
        seed: int = 0,
        probabilities: Sequence[float] | None = None,
    ) -> None:
        if not len(sizes) or min(sizes) < 1:
            raise InputError(f"tasks have {list(sizes)} samples: each needs at least one")
        self.sizes = tuple(int(n) for n in sizes)
        self.seed = int(seed)
        p = shares(sizes, temperature) if probabilities is None else np.asarray(probabilities)
        self.probabilities = p / p.sum()
        self._credit = np.zeros(len(sizes))
        self._epoch = [0] * len(sizes)
        self._position = [0] * len(sizes)
        self._order: dict[int, np.ndarray] = {}

    def _permutation(self, task: int) -> np.ndarray:
        if task not in self._order:
            key = [self.seed, task, self._epoch[task]]
            self._order[task] = np.random.default_rng(key).permutation(self.sizes[task])
        return self._order[task]

    def peek(self) -> Draw:
        """The next draw, without taking it."""
        task = int(np.argmax(self._credit + self.probabilities))
        return Draw(task, int(self._permutation(task)[self._position[task]]))

    def take(self) -> Draw:
        """The next draw."""
        draw = self.peek()
        task = draw.task
        self._credit += self.probabilities
        self._credit[task] -= 1.0
        self._position[task] += 1
        if self._position[task] == self.sizes[task]:
            self._epoch[task] += 1
            self._position[task] = 0
            self._order.pop(task)
        return draw

    def fill(
        self,
        cost: Callable[[Draw], tuple[int, int]],
        tokens: int,
        edges: int,
        *,
        at_least: int = 1,
    ) -> list[Draw]:
        """Draws until the next one would exceed the budget of tokens or edges.

        Args:
            cost: (tokens, edges) of a draw.
            tokens: budget.
            edges: budget.
            at_least: so many systems whatever the budget says (one for each process).
        """
        draws: list[Draw] = []
        budget = Budget(tokens, edges)
        while True:
            size = cost(self.peek())
            if len(draws) >= at_least and not budget.fits(size):
                return draws
            budget.take(size)
            draws.append(self.take())

    def state_dict(self) -> dict[str, Any]:
        """Where the sequence stands, as plain lists of numbers."""
        return {
            "sizes": list(self.sizes),
            "seed": self.seed,
            "credit": self._credit.tolist(),
            "epoch": list(self._epoch),
            "position": list(self._position),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where `state` was taken.

        Raises:
            InputError: it belongs to other data or another seed.
        """
        if list(state["sizes"]) != list(self.sizes) or state["seed"] != self.seed:
            raise InputError(
                f"the checkpoint was made with datasets of {state['sizes']} samples and seed "
                f"{state['seed']}, now there are {list(self.sizes)} and seed {self.seed}"
            )
        self._credit = np.array(state["credit"], dtype=np.float64)
        self._epoch, self._position = list(state["epoch"]), list(state["position"])
        self._order.clear()


def divide(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Indices of the items of each of `parts` processes, folds, ...: disjoint, complete, balanced.

    costs: of the items, in any unit; the dearest that is left goes to the cheapest part.
    """
    loads = [0.0] * parts
    owned: list[list[int]] = [[] for _ in range(parts)]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        # an empty one first, so that no process stays without a system
        target = min(range(parts), key=lambda p: (bool(owned[p]), loads[p], p))
        owned[target].append(index)
        loads[target] += costs[index]
    return [sorted(indices) for indices in owned]
