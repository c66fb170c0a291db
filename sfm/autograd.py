"""torch's node of the graph of derivatives, with a type for `apply`, which torch leaves without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.autograd import Function as _Function

if TYPE_CHECKING:

    class Function(_Function):
        """What `torch.autograd.Function` is to a type checker; in a run it is that class itself."""

        @classmethod
        def apply(cls, *arguments: Any) -> Any:
            """The node's outputs, from what its `forward` takes after `ctx`."""

else:
    Function = _Function
