"""Buffers that stay in float64 whatever the network's dtype, and that older files may lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn


class Float64Buffers(nn.Module):
    """A module whose buffers move with `.to(device)` and are never cast.

    References of -1e5 eV and inverse Gram matrices need float64 in a float32 network.

    Class attributes:
        later: groups of buffers that came with later versions: a file that holds none of a group
            leaves them as they are.
    """

    later: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **options: Any
    ) -> None:
        for group in self.later:
            names = {prefix + name: getattr(self, name) for name in group}
            if state_dict.keys().isdisjoint(names):
                state_dict |= names
        super()._load_from_state_dict(state_dict, prefix, *args, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        device = fn(torch.empty(0)).device
        for name, buffer in self.named_buffers(recurse=False):
            setattr(self, name, buffer.to(device))
        return self
