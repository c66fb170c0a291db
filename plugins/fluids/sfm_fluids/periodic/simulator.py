"""The base of the pseudo-spectral simulators: u' = L u + N(u, t) for Fourier coefficients u."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Setting, Simulator

from ..stepping.rollout import rollout
from ..stepping.stepper import STEPPERS, stepper

STEPPING = (
    Setting("dt", 0.01, summary="time step"),
    Setting("stepper", "etdrk4", tuple(STEPPERS), summary="method in time"),
    Setting("recompute", True, (True, False), summary="redo steps in the backward pass"),
    Setting("segment", 1, summary="keep each segment-th state for the backward pass"),
)


class PseudoSpectral(Simulator):
    """A simulator that states L and N; the base steps it.

    A subclass lists `STEPPING` among its settings, implements `linear_operator` and `nonlinear`,
    and calls `integrate` in its `forward`.
    """

    order: ClassVar[tuple[str, int] | None] = ("dt", 4)
    batched: ClassVar[bool] = True

    dt: float
    stepper: str
    recompute: bool
    segment: int

    def __init__(
        self,
        *,
        closure: nn.Module | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        super().__init__(closure=closure, dtype=dtype, **values)
        if not self.dt > 0:
            raise InputError(f"{self.part}: dt={self.dt} must be positive")
        if self.segment < 1:
            raise InputError(f"{self.part}: segment={self.segment} must be at least 1")

    @abstractmethod
    def linear_operator(self) -> Tensor:
        """L, float64, of the shape of the coefficients (a batch axis first where it has one)."""

    @abstractmethod
    def nonlinear(self) -> Callable[[Tensor, float], Tensor]:
        """N(u, t). Called once per rollout: what is the same in all steps is made here."""

    def integrate(self, u: Tensor, steps: int, time: float = 0.0) -> Tensor:
        """The coefficients `steps` steps after `time`."""
        method, term = stepper(self.stepper), self.nonlinear()
        factors = method.coefficients(self.linear_operator(), self.dt, u.real.dtype)

        def advance(u: Tensor, n: int, *factors: Tensor) -> Tensor:
            return method.step(u, lambda w, c: term(w, time + (n + c) * self.dt), factors)

        return rollout(advance, u, factors, steps, recompute=self.recompute, segment=self.segment)
