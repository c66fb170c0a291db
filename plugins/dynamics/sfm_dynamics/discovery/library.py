"""Libraries of candidate terms: monomials of the variables up to a degree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import torch
from torch import Tensor

from sfm.errors import InputError

MAX_TERMS = 2000


@dataclass(frozen=True)
class Polynomials:
    """All monomials of `names` up to `degree`, the constant first.

    Raises:
        InputError: more than 2000 terms.
    """

    names: tuple[str, ...]
    degree: int

    def __post_init__(self) -> None:
        if self.degree < 0 or not self.names:
            raise InputError("a library needs variables and a degree of at least 0")
        if len(self.powers) > MAX_TERMS:
            raise InputError(
                f"{len(self.powers)} terms of degree {self.degree} in {len(self.names)} variables "
                f"are more than {MAX_TERMS}; lower the degree"
            )

    @property
    def powers(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the variables that each term multiplies: () is the constant."""
        d = range(len(self.names))
        return tuple(c for k in range(self.degree + 1) for c in combinations_with_replacement(d, k))

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms as people write them: `1`, `x`, `x y`, `x^2`."""
        return tuple(_written([self.names[i] for i in c]) for c in self.powers)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        """(..., d) -> (..., terms)."""
        return np.stack(
            [
                np.prod([x[..., i] for i in c], axis=0) if c else np.ones(x.shape[:-1])
                for c in self.powers
            ],
            axis=-1,
        )

    def of_tensor(self, x: Tensor) -> Tensor:
        """The same, differentiable."""
        columns = []
        for c in self.powers:
            column = torch.ones_like(x[..., 0])
            for i in c:
                column = column * x[..., i]
            columns.append(column)
        return torch.stack(columns, -1)


def _written(factors: Sequence[str]) -> str:
    if not factors:
        return "1"
    found = []
    for name in dict.fromkeys(factors):
        count = factors.count(name)
        found.append(name if count == 1 else f"{name}^{count}")
    return " ".join(found)
