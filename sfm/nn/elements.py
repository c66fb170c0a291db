"""Token types as vectors: a learned table plus what the periodic table says.

Elements of one group, period or block share weights, so that an element that is rare in the
training data is not a stranger. Type 0 is a token that is no atom.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

N_TYPES = 119
_NOBLE = (2, 10, 18, 36, 54, 86, 118)


def place(z: int) -> tuple[int, int, int]:
    """(period 1-7, group 1-18 or 0 in the f block, block s=0 p=1 d=2 f=3) of an atomic number.

    >>> place(14), place(26), place(64)
    ((3, 14, 1), (4, 8, 2), (6, 0, 3))
    """
    period = next(i for i, noble in enumerate(_NOBLE, start=1) if z <= noble)
    before = 0 if period == 1 else _NOBLE[period - 2]
    step, length = z - before, _NOBLE[period - 1] - before
    if step <= 2 and z != 2:
        return period, step, 0
    if z == 2:
        return 1, 18, 0
    from_right = length - step
    if from_right < 6:
        return period, 18 - from_right, 1
    if from_right < 16:
        return period, 18 - from_right, 2
    return period, 0, 3


def descriptors() -> Float[Tensor, "119 34"]:
    """(119, 34) float64 without unit: one-hot group, period and block, and smooth counterparts."""
    table = torch.zeros(N_TYPES, 34, dtype=torch.float64)
    table[0, 33] = 1.0
    for z in range(1, N_TYPES):
        period, group, block = place(z)
        if group:
            table[z, group - 1] = 1.0
            table[z, 30] = group / 9 - 1
        table[z, 17 + period] = 1.0
        table[z, 25 + block] = 1.0
        table[z, 31] = period / 3.5 - 1
        table[z, 32] = math.log(z) / 2 - 1
    return table


class TypeEmbedding(nn.Module):
    """(N,) types -> (N, C), dimensionless: table[z] + descriptors[z] @ projection."""

    facts: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        facts = descriptors()
        self.weight = nn.Parameter(0.3 * torch.randn(N_TYPES, channels))
        self.projection = nn.Parameter(torch.randn(facts.shape[1], channels) / 2)
        self.register_buffer("facts", facts.to(self.weight.dtype), persistent=False)

    def forward(self, types: Int[Tensor, " N"]) -> Float[Tensor, "N C"]:
        return (self.weight + self.facts @ self.projection)[types]
