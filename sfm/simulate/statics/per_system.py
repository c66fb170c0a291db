"""Sums over the rows of each system of a batch, and back to the rows, as every minimiser needs."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from sfm.data.tokens import system_sum

TINY = 1e-30


class PerSystem(NamedTuple):
    """The systems of a batch of rows.

    Attributes:
        system: (R,) index of each row's system.
        largest: (S,) angstrom, the longest that all of a system may move, root of the sum of
            squares.
    """

    system: Int[Tensor, " R"]
    largest: Float[Tensor, " S"]

    def dot(self, x: Float[Tensor, "R 3"], y: Float[Tensor, "R 3"]) -> Float[Tensor, " S"]:
        """(S,) products of two vectors (R, 3), in their units."""
        return system_sum((x * y).sum(1), self.system, len(self.largest))

    def norm(self, x: Float[Tensor, "R 3"]) -> Float[Tensor, " S"]:
        """(S,) lengths of a vector (R, 3), in its unit; differentiable at zero."""
        return (self.dot(x, x) + TINY).sqrt()

    def rows(self, value: Shaped[Tensor, " S"]) -> Shaped[Tensor, "R 1"]:
        """(R, 1) the value (S,) of each row's system, in its unit."""
        return value[self.system].unsqueeze(1)

    def shortened(self, length: Float[Tensor, " S"]) -> Float[Tensor, " S"]:
        """(S,) what moves of such lengths (S,), angstrom, are multiplied with to be allowed."""
        return (self.largest / length).clamp(max=1.0)
