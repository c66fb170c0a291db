"""Whether a function transform (torch.func, forward-mode derivatives) is looking on."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.autograd import forward_ad


def traced() -> bool:
    """True inside `torch.func` transforms and forward-mode differentiation.

    There, custom functions and in-place kernels give way to plain operations, which every
    transform understands.
    """
    return forward_ad._current_level >= 0 or transformed()


def transformed() -> bool:
    """True inside `torch.func` transforms alone."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def several(value: Shaped[Tensor, " ..."]) -> bool:
    """True for what stands for many tensors at once: torch's `vmap` and `is_grads_batched`."""
    legacy: bool = torch._C._functorch.is_legacy_batchedtensor(value)
    return legacy or torch._C._functorch.is_batchedtensor(value)
