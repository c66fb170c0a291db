"""`dynamics/neural-ode` and `dynamics/hamiltonian`: all rates, or the energy, are a closure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Setting
from sfm_dynamics.simulators.hamiltonian import Hamiltonian, hamiltonian_settings
from sfm_dynamics.simulators.ode import Field, Ode, settings
from sfm_dynamics.simulators.open_system import OpenSystem
from sfm_dynamics.simulators.system import State, Values


class NeuralOde(Ode):
    """dx/dt = closure(x): a neural ordinary differential equation.

    Without unit. The closure is a module from states (..., n) to rates (..., n), for instance
    `sfm_dynamics.model.networks.Rates`, or the equation that `sfm_dynamics.discovery` found. For
    known terms and a closure for the rest (a universal differential equation) give the closure to
    the system itself: `LotkaVolterra(beta=0, delta=0, closure=...)`.

    Good values: method=dopri5 with gradients=adjoint needs no memory per step; rk4 with
    gradients=recompute is exact to rounding and quicker for smooth fields.

    Limits: needs a closure; autonomous.

    Source: R. T. Q. Chen et al., NeurIPS (2018), arXiv:1806.07366; universal differential
    equations: C. Rackauckas et al. (2020), arXiv:2001.04385.
    """

    part: ClassVar[str] = "dynamics/neural-ode"
    summary: ClassVar[str] = "motion under learned rates"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *settings(0.1),
        Setting("n", 2, summary="number of variables"),
    )
    citations: ClassVar[tuple[str, ...]] = ("arXiv:1806.07366", "arXiv:2001.04385")
    n: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("n")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.n))

    def start(self) -> tuple[float, ...]:
        return (1.0,) * self.n

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        return torch.zeros_like(x)

    def field(self, p: Values | None = None, weights: Values | None = None) -> Field:
        closure = self.bound_closure(weights)
        if closure is None:
            raise InputError(f"{self.part}: needs a closure that says the rates")
        return closure

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Ode, State]:
        """A spiral sink that slows down: dx/dt = A tanh(x)."""
        simulator = cls(closure=_Spiral(), **values)
        return simulator, simulator.at(torch.tensor([1.0, 0.5]))


class _Spiral(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        matrix = x.new_tensor([[-0.1, 2.0], [-2.0, -0.1]])
        return torch.tanh(x) @ matrix.T


class LearnedHamiltonian(Hamiltonian):
    """dq/dt = dH/dp, dp/dt = -dH/dq with H a closure alone: a Hamiltonian neural network.

        H = closure(q, p)

    Without unit. `n` degrees of freedom; the closure is a module from states (..., 2n) to energies
    (...), for instance `sfm_dynamics.model.networks.Energy`. Nothing is assumed of H, so the
    method is implicit-midpoint (symplectic) unless rk4, dopri5, ... are asked for.

    Good values: as the data that the closure learned from.

    Limits: needs a closure; conserves the closure's energy, which is the system's only as far as
    the closure is right.

    Source: S. Greydanus, M. Dzamba, J. Yosinski, NeurIPS (2019), arXiv:1906.01563.
    """

    part: ClassVar[str] = "dynamics/hamiltonian"
    summary: ClassVar[str] = "motion under a learned Hamiltonian"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *hamiltonian_settings(0.1, method="implicit-midpoint"),
        Setting("n", 1, summary="degrees of freedom"),
    )
    citations: ClassVar[tuple[str, ...]] = ("arXiv:1906.01563",)
    separable: ClassVar[bool] = False
    n: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("n")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{kind}{i + 1}" for kind in "qp" for i in range(self.n))

    def start(self) -> tuple[float, ...]:
        return (1.0,) * self.n + (0.0,) * self.n

    def total(
        self, p: Values | None = None, weights: Values | None = None
    ) -> Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states"]]:
        silent = isinstance(self.closure, OpenSystem) and self.closure.function is None
        if self.closure is None or silent:
            raise InputError(
                f"{self.part}: needs a closure that says the energy; `dynamics/mass-spring` and "
                "others know theirs"
            )
        return super().total(p, weights)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Hamiltonian, State]:
        """An anharmonic oscillator as the closure."""
        simulator = cls(closure=_Quartic(), **values)
        return simulator, simulator.state()


class _Quartic(nn.Module):
    """H = p^2 / 2 + q^2 / 2 + q^4 / 4."""

    def forward(self, x: Tensor) -> Tensor:
        q, p = x.chunk(2, -1)
        return (0.5 * (p**2 + q**2) + 0.25 * q**4).sum(-1)
