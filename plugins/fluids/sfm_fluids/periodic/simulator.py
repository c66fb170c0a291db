"""The base of the pseudo-spectral simulators: u' = L u + N(u, t) for Fourier coefficients u."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Setting, Simulator

from ..stepping.exponential import ExponentialStep, paired
from ..stepping.functional import traced
from ..stepping.rollout import Monitor, rollout
from ..stepping.stepper import STEPPERS, stepper
from ..stepping.term import Term, as_term

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
        self._made: tuple[tuple[Any, ...], Tensor, Sequence[Tensor]] | None = None

    @abstractmethod
    def linear_operator(self) -> Tensor:
        """L, float64, of the shape of the coefficients (a batch axis first where it has one)."""

    @abstractmethod
    def nonlinear(self) -> Callable[[Tensor, float], Tensor] | Term:
        """N(u, t). Called once per rollout: what is the same in all steps is made here.

        A plain function is enough. A `Term` names the tensors that N depends on, so that a
        rollout keeps nothing but states for the backward pass and goes through no checkpoint.
        """

    def integrate(
        self,
        u: Tensor,
        steps: int,
        time: float = 0.0,
        *,
        term: Callable[[Tensor, float], Tensor] | Term | None = None,
        linear: Tensor | None = None,
        monitor: Monitor | None = None,
    ) -> Tensor:
        """The coefficients `steps` steps after `time`.

        Args:
            u: coefficients, complex or real.
            steps: how many steps of `dt`.
            time: time of u.
            term: N in place of `nonlinear()`.
            linear: L in place of `linear_operator()`.
            monitor: called with (steps done, coefficients) after each step.
        """
        method = stepper(self.stepper)
        plain = self.nonlinear() if term is None else term
        linear = self.linear_operator() if linear is None else linear
        pairs = u.is_complex() and not linear.is_complex()
        factors = self._factors(linear, u.real.dtype, pairs)
        term = as_term(plain)
        step = ExponentialStep(
            tableau=method.tableau,
            term=term,
            count=len(factors),
            dt=self.dt,
            time=time,
            first=round(time / self.dt),
            pairs=pairs,
        )
        watch = monitor
        if monitor is not None and pairs:

            def watch(done: int, state: Tensor) -> None:
                monitor(done, torch.view_as_complex(state))

        end = rollout(
            step if isinstance(plain, Term) else step.advance,
            torch.view_as_real(u) if pairs else u,
            (*factors, *term.tensors),
            steps,
            recompute=self.recompute,
            segment=self.segment,
            monitor=watch,
        )
        return torch.view_as_complex(end) if pairs else end

    def _factors(self, linear: Tensor, dtype: torch.dtype, pairs: bool) -> Sequence[Tensor]:
        """The method's factors; those of the last call again if L is the same and needs none."""
        key = (self.stepper, self.dt, dtype, pairs)
        constant = not traced() and not (torch.is_grad_enabled() and linear.requires_grad)
        if constant and self._made is not None:
            made_for, before, factors = self._made
            if made_for == key and before.shape == linear.shape and torch.equal(before, linear):
                return factors
        factors = tuple(stepper(self.stepper).coefficients(linear, self.dt, dtype))
        if pairs:
            factors = tuple(paired(f) for f in factors)
        if constant:
            self._made = key, linear.detach(), factors
        return factors
