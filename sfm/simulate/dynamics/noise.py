"""Random numbers of a step: they follow from a seed and the step's number alone.

So a state determines its future, a step that is redone in a backward pass sees the noise that it
saw before, and no global generator is touched.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def _seed(seed: int, number: int) -> int:
    return (seed + 1) * 1_000_003 + number


def normals(
    shape: tuple[int, ...], like: Float[Tensor, " ..."], seed: int, number: int
) -> Float[Tensor, " ..."]:
    """Standard normal numbers of a `shape` (N, 3), drawn for step `number`; dtype of `like`."""
    generator = torch.Generator().manual_seed(_seed(seed, number))
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(like)


def chi_squares(
    degrees: Float[Tensor, " S"], like: Float[Tensor, " ..."], seed: int, number: int
) -> Float[Tensor, " S"]:
    """(S,) sums of squares of `degrees` (S,) standard normal numbers; 0 for no degrees."""
    freedom = degrees.detach().cpu().numpy()
    drawn = np.random.default_rng(_seed(seed, number) % 2**63).chisquare(np.maximum(freedom, 1e-9))
    return torch.from_numpy(np.where(freedom > 0, drawn, 0.0)).to(like)
