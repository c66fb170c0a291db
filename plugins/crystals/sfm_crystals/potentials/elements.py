"""Which rows of a table of elements the atoms of cells have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from sfm.data.elements import NUMBERS, SYMBOLS
from sfm.errors import InputError


def rows_of(types: Int[Tensor, " N"], elements: Sequence[str], *, where: str) -> Int[Tensor, " N"]:
    """(N,) index into `elements` of atomic numbers (N,).

    Args:
        types: (N,) atomic numbers.
        elements: symbols.
        where: what has no other elements, for the message.

    Raises:
        InputError: an element that is not among them.
    """
    known = torch.tensor([NUMBERS[e] for e in elements], device=types.device)
    same = types.unsqueeze(1) == known
    if not bool(same.any(1).all()):
        z = int(types[~same.any(1)][0])
        raise InputError(
            f"{where}: no parameters for {SYMBOLS[z]} (it has {', '.join(elements)}); "
            "give table=FILE with this element, or another potential"
        )
    return same.long().argmax(1)


def element(text: str, where: str) -> str:
    """The symbol that `text` is.

    Raises:
        InputError: it is none.
    """
    if text not in NUMBERS or NUMBERS[text] < 1:
        raise InputError(f"{where}: '{text}' is no element")
    return text
