"""`dynamics/neural-ode`: the whole right-hand side is a closure."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Setting
from sfm_dynamics.simulators.ode import Field, Ode, State, Values, settings


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
        if self.n < 1:
            raise InputError(f"{self.part}: n={self.n} must be positive")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.n))

    def start(self) -> tuple[float, ...]:
        return (1.0,) * self.n

    def rates(self, x: Tensor, p: Values) -> Tensor:
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
