"""Increments of Wiener processes that a seed and the number of a step determine."""

from __future__ import annotations

import torch
from torch import Tensor


def wiener(like: Tensor, dt: float, *, seed: int, number: int) -> Tensor:
    """dW over `dt`, independent normal numbers of variance dt, of the shape of `like`.

    Args:
        like: gives shape, dtype and device; the numbers are the same in every precision.
        dt: length of the step.
        seed: of the whole run. number: of the step.
    """
    generator = torch.Generator().manual_seed((seed + 1) * 1_000_003 + number)
    numbers = torch.randn(like.shape, generator=generator, dtype=torch.float64)
    scaled: Tensor = numbers.to(like) * dt**0.5
    return scaled
