"""Building modules from somebody else's options: no more memory than their weights account for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

from sfm.errors import HubError

SLACK = 2_000_000  # elements of tables that no file holds
FACTOR = 8  # temporaries of a parameter's first values
LARGEST_OPTION = 65_536
FACTORIES = {
    "empty", "zeros", "ones", "full", "rand", "randn", "randint", "randperm", "eye", "arange",
    "linspace", "logspace", "empty_strided", "new_empty", "new_zeros", "new_ones", "new_full",
    "expand", "repeat", "tile", "repeat_interleave",
}  # fmt: skip


class BuiltWithin(TorchFunctionMode):
    """Refuses to make tensors once they have more elements in all than the weights explain.

    Args:
        shapes: of the tensors in the weights' file, by name; see `sfm.hub.files.tensor_shapes`.
        where: for the message.

    Raises:
        HubError: inside the block, before the memory is asked for.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], where: str) -> None:
        super().__init__()
        held = sum(math.prod(shape) for shape in shapes.values())
        self.left = self.most = FACTOR * held + SLACK
        self.where = where

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if getattr(func, "__name__", "") in FACTORIES:
            self._spend(math.prod(_numbers([*args, *given.values()])))
        return func(*args, **given)

    def _spend(self, elements: int) -> None:
        self.left -= elements
        if self.left < 0:
            raise HubError(
                f"{self.where}: the sizes in config.json ask for more than {self.most} numbers, "
                "and the weights hold far fewer: the two do not belong together"
            )


def checked_options(options: Any, *, free: Sequence[str] = ("seed",)) -> dict[str, Any]:
    """Constructor options out of a file, if they are names with plain values of sane size.

    A loop over a billion layers would begin before a tensor is made.

    Args:
        options: plain values of JSON.
        free: names of whole numbers that count nothing.

    Raises:
        ValueError: one of them is not.
    """
    if not isinstance(options, Mapping):
        raise ValueError("the options are no mapping of names to values")
    for name, value in options.items():
        inside = value.values() if isinstance(value, Mapping) else value
        for one in inside if isinstance(value, (Mapping, list)) else [value]:
            if name not in free and isinstance(one, int) and abs(one) > LARGEST_OPTION:
                raise ValueError(f"{name} is larger than {LARGEST_OPTION}")
    return dict(options)


def _numbers(values: Iterable[Any]) -> list[int]:
    """The whole numbers above 1 among the arguments of a factory: its sizes, or more."""
    numbers = []
    for value in values:
        parts = value if isinstance(value, (list, tuple)) else [value]
        numbers += [n for n in parts if isinstance(n, int) and not isinstance(n, bool) and n > 1]
    return numbers
