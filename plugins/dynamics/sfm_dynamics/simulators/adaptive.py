"""Adaptive explicit steps, adjoint gradients and events, by torchdiffeq.

R. T. Q. Chen et al., Neural Ordinary Differential Equations, NeurIPS (2018), arXiv:1806.07366;
events: Chen, Amos, Nickel, ICLR (2021), arXiv:2011.03902.

States, rates and times in the system's own units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Field = Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]]
METHODS = ("dopri5", "dopri8")


class _Right(nn.Module):
    """f(t, x), with the tensors that the adjoint differentiates by."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.field(x)


def advance(
    field: Field,
    x: Float[Tensor, "*states d"],
    span: float,
    *,
    method: str,
    rtol: float,
    atol: float,
    adjoint: Sequence[Float[Tensor, " ..."]] | None,
) -> Float[Tensor, "*states d"]:
    """The state after `span`.

    Args:
        field: right-hand side of the autonomous system.
        x: (..., d).
        span: time to bridge.
        method: `dopri5` or `dopri8`.
        rtol: relative tolerance of one step. atol: absolute tolerance.
        adjoint: the tensors besides x that gradients are wanted for, to solve the adjoint equation
            backwards in time (memory does not grow with the number of steps); None to differentiate
            the steps themselves.
    """
    from torchdiffeq import odeint, odeint_adjoint

    t = torch.tensor([0.0, span], dtype=x.dtype, device=x.device)
    options = {"method": method, "rtol": rtol, "atol": atol}
    end: Tensor
    if adjoint is None:
        end = odeint(_Right(field), x, t, **options)[-1]
        return end
    learned = tuple(p for p in adjoint if p.requires_grad)
    end = odeint_adjoint(_Right(field), x, t, adjoint_params=learned, **options)[-1]
    return end


def until(
    field: Field,
    x: Float[Tensor, " d"],
    event: Callable[[Float[Tensor, " d"]], Float[Tensor, ""]],
    *,
    rtol: float,
    atol: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, " d"]]:
    """Time () until `event(x)` crosses zero, and the state there; both differentiable.

    torchdiffeq refines steps of dopri5 by bisection and reroutes gradients through the implicit
    function theorem.
    """
    from torchdiffeq import odeint_event

    start = torch.zeros((), dtype=x.dtype, device=x.device)
    time, states = odeint_event(
        _Right(field),
        x,
        start,
        event_fn=lambda t, y: event(y),
        method="dopri5",
        rtol=rtol,
        atol=atol,
    )
    return time, states[-1]
