"""Pairs of bonds at one atom."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor


def triplets(receiver: Int[Tensor, " E"]) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"]]:
    """Pairs of bonds that share a receiver, each once: two (T,) tensors of bond indices.

    Args:
        receiver: (E,) ascending.
    """
    device = receiver.device
    count = torch.bincount(receiver) if len(receiver) else receiver
    start = torch.cumsum(count, 0) - count
    partners = count[receiver]
    first = torch.repeat_interleave(torch.arange(len(receiver), device=device), partners)
    begin = torch.cumsum(partners, 0) - partners
    second = start[receiver[first]] + torch.arange(len(first), device=device) - begin[first]
    once = first < second
    return first[once], second[once]
