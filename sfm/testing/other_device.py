"""A pretended accelerator: finds tensors that were left on the CPU, on machines without a GPU.

Inside `other_device()` the device `meta` has memory. A tensor there (`OtherTensor`) is a shell
around an ordinary one, and operations are computed for real, by the rules of an accelerator:

- tensors of two devices in one operation are an error, but for CPU scalars (0-d) and for indices on
  the CPU, which CUDA takes too;
- only a copy (`.to`, `.cpu()`, `copy_`) or `.item()` brings anything to the CPU; `.numpy()` fails.

So a calculation that runs here, and gives the CPU's numbers, has no hidden CPU tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

DEVICE = torch.device("meta")
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
INDEXED = {
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
}
RESHAPING = {"squeeze_", "unsqueeze_", "t_", "transpose_", "resize_", "as_strided_"}


# views with a flag that tensors inside a shell would carry unseen
EAGER = {
    torch.ops.aten._conj.default: torch.ops.aten.conj_physical.default,
    torch.ops.aten._neg_view.default: torch.ops.aten.neg.default,
}


class OtherTensor(Tensor):
    """A tensor whose device is `DEVICE` and whose numbers are in ``inside``."""

    inside: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: type[OtherTensor], inside: Tensor) -> OtherTensor:
        shell = Tensor._make_wrapper_subclass(
            cls,
            inside.shape,
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=DEVICE,
            requires_grad=inside.requires_grad,
        )
        shell.inside = inside.detach()
        return shell

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(function, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"OtherTensor({self.inside})"


class _Everywhere(TorchDispatchMode):
    """Catches what makes tensors from nothing, and mixtures of devices."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(function, args, kwargs or {})


def _compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:  # noqa: C901
    function = EAGER.get(function, function)
    target = kwargs.get("device")
    inputs = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
    away = any(isinstance(x, OtherTensor) for x in inputs)
    if any(x.device == DEVICE and not isinstance(x, OtherTensor) for x in inputs):
        raise RuntimeError(f"{function}: a tensor without numbers; not known here")
    if function not in COPIES and away:
        fixed = args[:1] if function in INDEXED else (args, kwargs)
        fixed = (fixed, args[2:]) if function in INDEXED else fixed
        for x in tree_iter(fixed):
            if isinstance(x, Tensor) and not isinstance(x, OtherTensor) and x.dim():
                raise RuntimeError(
                    f"{function}: a tensor {tuple(x.shape)} on the CPU among tensors elsewhere"
                )
    if target is not None:
        away = torch.device(target) == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif function is torch.ops.aten.copy_.default:
        away = isinstance(args[0], OtherTensor)
    elif function is torch.ops.aten._local_scalar_dense.default:
        away = False
    if away and function.overloadpacket.__name__ in RESHAPING:
        raise RuntimeError(f"{function}: a new shape in place; not known here")
    given = {id(x.inside): x for x in inputs if isinstance(x, OtherTensor)}
    args, kwargs = tree_map(lambda x: x.inside if isinstance(x, OtherTensor) else x, (args, kwargs))
    result = function(*args, **kwargs)

    def out(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        if id(x) in given:  # in place
            return given[id(x)]
        return OtherTensor(x) if away else x

    return tree_map(out, result)


def _patches() -> Iterator[Any]:
    """What PyTorch does in C++ before any dispatch: numbers and lists from Python, and to it."""
    tensor, getitem, setitem = torch.tensor, Tensor.__getitem__, Tensor.__setitem__
    matmul, tolist, load = Tensor.__matmul__, Tensor.tolist, torch.serialization.load

    def placed(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        inner = tensor(data, **options)
        return inner if device is None else inner.to(device)

    def index(key: Any) -> Any:
        if isinstance(key, tuple):
            return tuple(index(k) for k in key)
        return tensor(key) if isinstance(key, list) else key

    def loaded(file: Any, map_location: Any = None, **options: Any) -> Any:
        away = map_location is not None and torch.device(map_location) == DEVICE
        content = load(file, **options, map_location="cpu" if away else map_location)
        return tree_map(lambda x: x.to(DEVICE) if isinstance(x, Tensor) and away else x, content)

    def product(a: Tensor, b: Tensor) -> Tensor:
        # here PyTorch squeezes in place, which a shell cannot follow
        flat = a.dim() == 1 and b.dim() == 2
        return torch.mv(b.mT, a) if flat else matmul(a, b)

    yield mock.patch.object(torch, "tensor", placed)
    yield mock.patch.object(torch, "load", loaded)
    yield mock.patch.object(Tensor, "__getitem__", lambda x, key: getitem(x, index(key)))
    yield mock.patch.object(Tensor, "__setitem__", lambda x, k, value: setitem(x, index(k), value))
    yield mock.patch.object(Tensor, "__matmul__", product)
    yield mock.patch.object(
        Tensor, "tolist", lambda x: tolist(x.inside if isinstance(x, OtherTensor) else x)
    )


@contextmanager
def other_device() -> Iterator[torch.device]:
    """The pretended device, which works inside this context only."""
    with ExitStack() as stack:
        for patch in _patches():
            stack.enter_context(patch)
        stack.enter_context(_Everywhere())  # type: ignore[no-untyped-call]  # torch's __init__
        yield DEVICE
