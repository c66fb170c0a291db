"""`OpenSystem`: friction and driving forces as a closure, beside an energy that is conserved.

    dq/dt = dH/dp,   dp/dt = -dH/dq - c(x) v + u(x),   v = dH/dp
    M dv/dt = dL/dq - (d2L / dv dq) v - c(x) v + u(x)

The energy changes by -v c v + v u: friction only takes, what drives is u alone. These are the
port-Hamiltonian systems whose friction acts on each coordinate by itself: A. van der Schaft,
D. Jeltsema, Found. Trends Syst. Control 1, 173 (2014), doi:10.1561/2600000002.

In the units of the system that the closure stands in.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_dynamics.simulators.system import Values

Forces = Callable[
    [Float[Tensor, "*states d"], Float[Tensor, "*states n"]], Float[Tensor, "*states n"]
]


class OpenSystem(nn.Module):
    """A closure of Hamiltonian and Lagrangian simulators that says forces too.

    Args:
        function: the closure's part of the energy, or the Lagrangian: states (..., 2n) -> (...);
            None for none.
        friction: states (..., 2n) -> numbers (..., n) or (..., 1) whose squares are the
            coefficients c, so that friction never gives energy; None for none.
        force: states (..., 2n) -> what drives or controls, u (..., n) or (..., 1); None for none.
    """

    def __init__(
        self,
        function: nn.Module | None = None,
        *,
        friction: nn.Module | None = None,
        force: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.function, self.friction, self.force = function, friction, force

    def forward(
        self, x: Float[Tensor, "*states d"], velocity: Float[Tensor, "*states n"] | None = None
    ) -> Float[Tensor, " ..."]:
        """The function (...) at states (..., 2n); with velocities (..., n) the forces (..., n)."""
        if velocity is None:
            if self.function is None:
                return x.new_zeros(x.shape[:-1])
            value: Tensor = self.function(x)
            return value
        total = torch.zeros_like(velocity)
        if self.friction is not None:
            total = total - self.friction(x).square() * velocity
        return total if self.force is None else total + self.force(x)


def forces_of(closure: nn.Module | None, weights: Values | None) -> Forces | None:
    """(states (..., 2n), velocities (..., n)) -> forces (..., n) of a closure that has some.

    Args:
        closure: of a simulator.
        weights: its weights and buffers by name; as they are now if None.
    """
    if not isinstance(closure, OpenSystem):
        return None
    if weights is None:
        return closure
    bound = dict(weights)
    return lambda x, v: torch.func.functional_call(closure, bound, (x, v))


class Constant(nn.Module):
    """The same numbers (n,) in every state: friction that is in proportion to the velocity."""

    def __init__(self, values: Float[Tensor, " n"]) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach().clone())

    def forward(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states n"]:
        return self.values.to(x).expand(*x.shape[:-1], -1)
