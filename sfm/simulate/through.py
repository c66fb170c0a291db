"""Losses behind a simulator: samples go through it with a closure, and come out compared.

A plugin supplies three things, for whatever its simulator does (steps in time, a relaxation, a
self-consistent field): which samples belong to one run, how to run it, and how wrong it came out.
`Simulator.through(**options)` returns them; `sfm.train.through` makes them a term of the loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.sample import Sample


class Through(ABC):
    """How samples are run through one simulator, and compared."""

    @abstractmethod
    def windows(self, samples: Sequence[Sample]) -> list[tuple[int, ...]]:
        """Indices of the samples of every possible run: what it starts from first, then targets.

        Raises:
            InputError: these samples do not fit the simulator.
        """

    @abstractmethod
    def losses(
        self, closure: nn.Module | None, windows: Sequence[Sequence[Sample]]
    ) -> Float[Tensor, " n"]:
        """(n,) one dimensionless loss per run, about 1 for a useless result.

        Differentiable in the closure.

        Args:
            closure: what fills the simulator's hole; None for the classical theory, as a baseline.
            windows: the samples of each run.
        """


def placement(closure: nn.Module | None) -> tuple[torch.dtype, torch.device]:
    """Precision and device of a closure's weights, where its runs belong; float64 and CPU if none.

    For `Through.losses`.
    """
    weights = () if closure is None else closure.parameters()
    first = next((p for p in weights if p.is_floating_point()), None)
    return (torch.float64, torch.device("cpu")) if first is None else (first.dtype, first.device)
