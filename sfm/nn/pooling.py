"""From tokens to one row of numbers per system: what closed-form heads and embeddings rest on."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.tokens import Tokens, system_sum
from sfm.nn.elements import N_TYPES

Pooling = Literal["sum", "mean", "cumulants"]
POOLINGS: tuple[Pooling, ...] = ("sum", "mean", "cumulants")


def pool(values: Float[Tensor, "N D"], tokens: Tokens, how: Pooling) -> Float[Tensor, "S width"]:
    """(N, D) of the tokens -> (S, D), or (S, 2 D) for `cumulants`: means, then deviations.

    The sum is extensive, the others are intensive. A deviation is the root of the mean square
    distance from the mean, with a derivative where it is zero. All in the unit of the values.
    """
    total = system_sum(values, tokens.system, tokens.n_systems)
    if how == "sum":
        return total
    counts = tokens.counts().unsqueeze(-1)
    mean = total / counts
    if how == "mean":
        return mean
    spread = system_sum((values - mean[tokens.system]).square(), tokens.system, tokens.n_systems)
    return torch.cat([mean, (spread / counts + 1e-8).sqrt() - 1e-4], dim=1)


def type_counts(tokens: Tokens, *, fractions: bool) -> Float[Tensor, "S 119"]:
    """(S, N_TYPES) float64 number of tokens of each type, or their shares."""
    counts = torch.zeros(tokens.n_systems, N_TYPES, dtype=torch.float64, device=tokens.types.device)
    ones = counts.new_ones(tokens.n_tokens)
    counts.index_put_((tokens.system, tokens.types), ones, accumulate=True)
    return counts / counts.sum(1, keepdim=True) if fractions else counts
