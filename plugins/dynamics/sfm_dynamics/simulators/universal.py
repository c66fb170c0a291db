"""`dynamics/universal-ode`: known terms as people write them, and a closure."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.simulate import Setting
from sfm_dynamics.polynomials import read_equations
from sfm_dynamics.simulators.ode import Ode, settings
from sfm_dynamics.simulators.system import State, Values


class UniversalOde(Ode):
    """dx/dt = known(x) + closure(x): a universal differential equation.

    The known terms are polynomials, given as `sfm discover` prints them:
    `equations="dx/dt = -10 x + 10 y; dy/dt = 28 x - y - x z; dz/dt = -2.667 z + x y"`. Their
    coefficients are trained with the closure (`simulator.known`). The closure is a module from
    states (..., d) to rates (..., d), for instance `sfm_dynamics.model.networks.Rates`; trained
    through the solver (`sfm_dynamics.model.trajectories`), `sfm_dynamics.discovery.sindy.explain`
    says what it has found. A system that the hub knows takes a closure itself.

    Without unit. Good values: rk4 with dt a tenth of the fastest time.

    Limits: autonomous; known terms are polynomials of degree 20 at most.

    Source: C. Rackauckas et al. (2020), arXiv:2001.04385; the default is their example, the growth
    of prey and the death of predators, whose interaction is missing.
    """

    part: ClassVar[str] = "dynamics/universal-ode"
    summary: ClassVar[str] = "known terms, and a closure for the rest"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *settings(0.05),
        Setting(
            "equations",
            "dprey/dt = 1.3 prey; dpredator/dt = -1.8 predator",
            others="one `dx/dt = 2 x - x y^2` for each variable, parted by semicolons",
            summary="the known terms",
        ),
    )
    citations: ClassVar[tuple[str, ...]] = ("arXiv:2001.04385",)
    equations: str
    known: nn.Parameter
    _kept: Tensor

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        read = read_equations(str(self.equations))
        self._library = read.library
        self.register_buffer("_kept", read.kept.to(self.dtype))
        self.known = nn.Parameter(read.coefficients.detach().to(self.dtype))

    @property
    def names(self) -> tuple[str, ...]:
        return self._library.names

    def start(self) -> tuple[float, ...]:
        return (1.0,) * self.dim

    def values(self) -> dict[str, Float[Tensor, " ..."]]:
        return {"known": self.known}

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        return self._library.of_tensor(x) @ (p["known"] * self._kept)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Ode, State]:
        """Prey and predators with their interaction as the closure."""
        simulator = cls(closure=_Interaction(), **{"dt": 0.1, **values})
        return simulator, simulator.at(torch.tensor([0.44, 4.6]))


class _Interaction(nn.Module):
    """(-0.9 x y, 0.8 x y)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.prod(-1, keepdim=True) * x.new_tensor([-0.9, 0.8])
