"""Which tensors a function uses that it was not given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves


class _Watch(TorchFunctionMode):
    """Notes every tensor that needs a gradient and is not among the known ones."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {id(t) for t in known}
        self.leaves: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and leaf.requires_grad and id(leaf) not in self.known:
                self.known.add(id(leaf))
                self.leaves.append(leaf)
        result = func(*args, **(kwargs or {}))
        # what the function makes is its own: a leaf that forces are taken at needs a gradient, too
        self.known.update(id(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result


def undeclared(
    function: Callable[..., Any], known: Sequence[Shaped[Tensor, " ..."]], arguments: Sequence[Any]
) -> list[Shaped[Tensor, " ..."]]:
    """Tensors that need a gradient, are used by `function(*arguments)`, and are not `known`.

    Runs the function once. Tensors have any shape and unit.
    """
    watch = _Watch(known)
    with torch.no_grad(), watch:
        function(*arguments)
    return watch.leaves
