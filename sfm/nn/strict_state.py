"""Weights of anybody's making into a module: the names, shapes and kinds of numbers that it has.

PyTorch's own `load_state_dict` converts silently: weights that are whole numbers are rounded ones,
and of complex ones half is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def load_strictly(module: nn.Module, tensors: Mapping[str, Shaped[Tensor, " ..."]]) -> None:
    """Make `tensors`, of any shape and unit, the state of `module`, in the module's dtypes.

    Args:
        module: changed in place.
        tensors: all of its state and nothing else; of a floating-point tensor any precision.

    Raises:
        ValueError: one line: names or shapes differ, or a tensor holds another kind of numbers.
    """
    check_kinds(module, tensors)
    try:
        module.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None


def check_kinds(module: nn.Module, tensors: Mapping[str, Shaped[Tensor, " ..."]]) -> None:
    """`check_kind` of those tensors, of any shape and unit, that the module has by that name."""
    for name, value in module.state_dict().items():
        if name in tensors:
            check_kind(name, tensors[name], value)


def check_kind(name: str, given: Shaped[Tensor, " ..."], known: Shaped[Tensor, " ..."]) -> None:
    """Raise a `ValueError` unless both, of any shape and unit, hold the same kind of numbers."""
    same = given.dtype in FLOATS if known.is_floating_point() else given.dtype == known.dtype
    if not same:
        raise ValueError(
            f"{name[:120]!r} holds {_word(given.dtype)} where {_word(known.dtype)} belongs"
        )


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
