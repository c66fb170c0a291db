"""`dynamics/lagrangian`: motion under a learned Lagrangian, in reduced units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.quantity import Quantity
from sfm.simulate import Setting
from sfm_dynamics.quantities import HAMILTONIAN, STATE
from sfm_dynamics.simulators.ode import Field, Ode, settings
from sfm_dynamics.simulators.open_system import Forces, OpenSystem, forces_of
from sfm_dynamics.simulators.slope import slope
from sfm_dynamics.simulators.system import State, Values

Function = Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states"]]


class LearnedLagrangian(Ode):
    """Euler and Lagrange's equations with L a closure alone: a Lagrangian neural network.

        M dv/dt = dL/dq - (d2L / dv dq) v,   dq/dt = v,   M = d2L / dv dv

    A state is (q_1 ... q_n, v_1 ... v_n): no momenta have to be known. The mass matrix M is solved
    with, not inverted. The closure is a module from states (..., 2n) to L (...), for instance
    `sfm_dynamics.model.networks.Mechanical`; with friction, driving or control it is an
    `OpenSystem` of `sfm_dynamics.simulators.open_system` around that.

    Without unit. Good values: rk4 with dt a tenth of the fastest time.

    Limits: needs a closure whose M is regular; the energy v dL/dv - L is conserved to the order of
    the method, and is the system's only as far as the closure is right.

    Source: M. Cranmer et al. (2020), arXiv:2003.04630.
    """

    part: ClassVar[str] = "dynamics/lagrangian"
    summary: ClassVar[str] = "motion under a learned Lagrangian"
    closure_quantity: ClassVar[str | None] = "lagrangian"
    observables: ClassVar[tuple[Quantity, ...]] = (STATE, HAMILTONIAN)
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *settings(0.05),
        Setting("n", 2, summary="degrees of freedom"),
    )
    citations: ClassVar[tuple[str, ...]] = ("arXiv:2003.04630",)
    conserved: ClassVar[dict[str, float]] = {"hamiltonian": 1e-5}  # rk4 over 2.5 time units
    n: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("n")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{kind}{i + 1}" for kind in "qv" for i in range(self.n))

    def start(self) -> tuple[float, ...]:
        return (1.0,) * self.n + (0.0,) * self.n

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        return self.field()(x)

    def _lagrangian(self, weights: Values | None = None) -> Function:
        closure = self.bound_closure(weights)
        silent = isinstance(self.closure, OpenSystem) and self.closure.function is None
        if closure is None or silent:
            raise InputError(f"{self.part}: needs a closure that says the Lagrangian")
        return lambda x: closure(x).reshape(x.shape[:-1])

    def field(self, p: Values | None = None, weights: Values | None = None) -> Field:
        lagrangian = self._lagrangian(weights)
        forces = forces_of(self.closure, weights)
        return lambda x: motion(lagrangian, x, forces)

    def observe(self, state: State) -> dict[str, Shaped[Tensor, " ..."]]:
        """The state (..., 2n) and its energy v dL/dv - L (...)."""
        x, lagrangian = state.values, self._lagrangian()
        momentum = slope(lagrangian, x).chunk(2, -1)[1]
        energy = (momentum * x.chunk(2, -1)[1]).sum(-1) - lagrangian(x)
        return {"state": x, "hamiltonian": energy}

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Ode, State]:
        """The double pendulum's own Lagrangian as the closure."""
        simulator = cls(closure=TwoPendulums(), **values)
        return simulator, simulator.at(torch.tensor([1.0, 0.5, 0.1, -0.2]))


def motion(
    lagrangian: Function, x: Float[Tensor, "*states d"], forces: Forces | None = None
) -> Float[Tensor, "*states d"]:
    """(dq/dt, dv/dt) (..., 2n) at states (..., 2n); recorded only if the caller records.

    Args:
        lagrangian: states (..., 2n) -> L (...), twice differentiable.
        x: states (q, v). forces: (states, velocities (..., n)) -> forces (..., n) besides; none if
            None.
    """
    n = x.shape[-1] // 2
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x if recording and x.requires_grad else x.detach().requires_grad_()
        (first,) = torch.autograd.grad(lagrangian(at).sum(), at, create_graph=True)
        rows = [
            torch.autograd.grad(
                first[..., n + i].sum(), at, create_graph=recording, retain_graph=True
            )[0]
            for i in range(n)
        ]
        mixed, mass = torch.stack(rows, -2).chunk(2, -1)
        force = first[..., :n].unsqueeze(-1) - mixed @ at[..., n:].unsqueeze(-1)
        if forces is not None:
            force = force + forces(at, at[..., n:]).unsqueeze(-1)
        rates = torch.cat((at[..., n:], torch.linalg.solve(mass, force).squeeze(-1)), -1)
    return rates if recording else rates.detach()


class TwoPendulums(nn.Module):
    """L = T - V of a double pendulum of masses, lengths and gravity 1; angles from below.

    H. Goldstein, Classical Mechanics (2002), in reduced units.
    """

    def forward(self, x: Float[Tensor, "*states 4"]) -> Float[Tensor, "*states"]:
        """L (...) at states (..., 4)."""
        a, b, da, db = x.unbind(-1)
        kinetic = da**2 + 0.5 * db**2 + da * db * torch.cos(a - b)
        return kinetic + 2 * torch.cos(a) + torch.cos(b)
