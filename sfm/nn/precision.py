"""Buffers that stay in float64 whatever the network's dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn


class Float64Buffers(nn.Module):
    """A module whose buffers move with `.to(device)` and are never cast.

    References of -1e5 eV and inverse Gram matrices need float64 in a float32 network.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        device = fn(torch.empty(0)).device
        for name, buffer in self.named_buffers(recurse=False):
            setattr(self, name, buffer.to(device))
        return self
