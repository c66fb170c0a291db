"""The base of the pseudo-spectral simulators: u' = L u + N(u, t) for Fourier coefficients u.

Any consistent system of units.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Setting, Simulator
from sfm.simulate.function_transforms import traced
from sfm.simulate.rollout import rollout
from sfm.simulate.rollout_node import Monitor
from sfm_fluids import box
from sfm_fluids.figures.films import MOVING, STILL
from sfm_fluids.stepping.adaptive import Controller, replay, search
from sfm_fluids.stepping.checkpoints import CHECKPOINTS, check_steps
from sfm_fluids.stepping.exponential import ExponentialStep, paired
from sfm_fluids.stepping.stacked import Stacks
from sfm_fluids.stepping.stepper import STEPPERS, stepper
from sfm_fluids.stepping.term import Term, as_term

ADAPTIVE = "adaptive"
STEPPING = (
    Setting("dt", 0.01, summary="time step"),
    Setting("stepper", "etdrk4", (*STEPPERS, ADAPTIVE), summary="method in time"),
    *CHECKPOINTS,
    Setting("tolerance", 1e-5, summary="of stepper=adaptive: relative error of one inner step"),
    Setting("courant", 0.8, summary="of stepper=adaptive: longest inner step in cell crossings"),
)


class PseudoSpectral(Simulator):
    """A simulator that states L and N; the base steps it.

    A subclass lists `STEPPING` among its settings, implements `linear_operator` and `nonlinear`,
    and calls `integrate` in its `forward`.

    `stepper="adaptive"` takes inner steps of an embedded pair of third order (Bogacki and Shampine
    with an integrating factor) that are as long as `tolerance` and, where the simulator knows its
    speed, `courant` allow, and at most `dt`. A step of `forward` still spans `dt`. Gradients are
    those of the accepted steps.
    """

    order: ClassVar[tuple[str, int] | None] = ("dt", 4)
    batched: ClassVar[bool] = True
    plots_to: ClassVar[tuple[str, ...]] = STILL + MOVING

    dt: float
    stepper: str
    recompute: bool
    segment: int
    tolerance: float
    courant: float

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        check_steps(self)
        for name in ("tolerance", "courant"):
            if not getattr(self, name, 1.0) > 0:
                raise InputError(f"{self.part}: {name}={getattr(self, name)} must be positive")
        self._made: tuple[tuple[Any, ...], Tensor, Sequence[Tensor]] | None = None
        self._stacked: tuple[Sequence[Tensor], Stacks | None] | None = None

    @abstractmethod
    def linear_operator(self) -> Inexact[Tensor, " ..."]:
        """L, float64, of the shape of the coefficients (a batch axis first where it has one)."""

    @abstractmethod
    def nonlinear(
        self,
    ) -> Callable[[Inexact[Tensor, "*shape"], float], Inexact[Tensor, "*shape"]] | Term:
        """N(u, t). Called once per rollout: what is the same in all steps is made here.

        A plain function is enough. A `Term` names the tensors that N depends on, so that a
        rollout keeps nothing but states for the backward pass and goes through no checkpoint.
        """

    def stating(self) -> dict[str, float]:
        """The box."""
        return box.stating(self)

    def courant_rate(self, u: Inexact[Tensor, " ..."]) -> float:
        """Largest speed over cell size at coefficients u (..., *modes); 0 without such a limit."""
        return 0.0

    def integrate(
        self,
        u: Inexact[Tensor, "*shape"],
        steps: int,
        time: float = 0.0,
        *,
        term: Callable[[Inexact[Tensor, "*shape"], float], Inexact[Tensor, "*shape"]]
        | Term
        | None = None,
        linear: Inexact[Tensor, " ..."] | None = None,
        monitor: Monitor | None = None,
    ) -> Inexact[Tensor, "*shape"]:
        """The coefficients `steps` steps after `time`.

        Args:
            u: coefficients, complex or real.
            steps: how many steps of `dt`.
            time: time of u.
            term: N in place of `nonlinear()`.
            linear: L in place of `linear_operator()`.
            monitor: called with (steps done, coefficients) after each step.
        """
        plain = self.nonlinear() if term is None else term
        linear = self.linear_operator() if linear is None else linear
        if self.stepper == ADAPTIVE:
            return self._adaptive(u, as_term(plain), linear, steps, time, monitor)
        method = stepper(self.stepper)
        pairs = u.is_complex() and not linear.is_complex()
        factors = self._factors(linear, u.real.dtype, pairs)
        term = as_term(plain)
        worth = steps > 1 or not any(f.requires_grad for f in factors)
        step = ExponentialStep(
            tableau=method.tableau,
            term=term,
            count=len(factors),
            dt=self.dt,
            time=time,
            first=round(time / self.dt),
            pairs=pairs,
            stacks=self._stacks(factors) if worth and not traced() else None,
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

    def _adaptive(
        self,
        u: Tensor,
        term: Term,
        linear: Tensor,
        steps: int,
        time: float,
        monitor: Monitor | None,
    ) -> Tensor:
        """Adaptive inner steps over `steps * dt`."""
        if term.held is not None or monitor is not None:
            raise InputError(
                f"{self.part}: stepper=adaptive has no steps of equal length, which noise, a "
                f"closure held over a step and monitors need; take one of {', '.join(STEPPERS)}"
            )
        if traced():
            raise InputError(
                f"{self.part}: stepper=adaptive cannot run inside torch.func transforms or "
                f"forward-mode derivatives; take one of {', '.join(STEPPERS)}"
            )
        if not steps:
            return u
        pairs = u.is_complex() and not linear.is_complex()

        def inside(w: Tensor) -> Tensor:
            return torch.view_as_complex(w) if pairs else w

        def outside(w: Tensor) -> Tensor:
            return torch.view_as_real(w.resolve_conj()) if pairs else w

        def nonlinear(w: Tensor, t: float, *tensors: Tensor) -> Tensor:
            return outside(term.function(inside(w), t, *tensors))

        controller = Controller(
            self.tolerance, self.dt, self.courant, lambda w: self.courant_rate(inside(w))
        )
        start, linear = outside(u), paired(linear) if pairs else linear
        given = [t.detach() for t in term.tensors]
        with torch.no_grad():
            path = search(
                start.detach(),
                lambda w, t: nonlinear(w, t, *given),
                linear.detach(),
                steps * self.dt,
                controller,
                time=time,
            )
        if not torch.is_grad_enabled():
            return inside(path.end)
        end = replay(
            start,
            nonlinear,
            linear,
            term.tensors,
            path.lengths,
            time=time,
            recompute=self.recompute,
            segment=self.segment,
        )
        return inside(end)

    def _factors(self, linear: Tensor, dtype: torch.dtype, pairs: bool) -> Sequence[Tensor]:
        """The method's factors; those of the last call again if L is the same and needs none."""

        def make() -> Sequence[Tensor]:
            factors = tuple(stepper(self.stepper).coefficients(linear, self.dt, dtype))
            return tuple(paired(f) for f in factors) if pairs else factors

        return self.remembered((self.stepper, self.dt, dtype, pairs), linear, make)

    def remembered(
        self,
        key: tuple[Any, ...],
        linear: Inexact[Tensor, " ..."],
        make: Callable[[], Sequence[Inexact[Tensor, " ..."]]],
    ) -> Sequence[Inexact[Tensor, " ..."]]:
        """`make()`, which depends on `key` and L alone; what it made last if those are the same.

        Where L needs a gradient, or a function transform looks on, it is made anew.
        """
        constant = not traced() and not (torch.is_grad_enabled() and linear.requires_grad)
        if constant and self._made is not None:
            made_for, before, factors = self._made
            kind = (before.shape, before.dtype, before.device)
            same = made_for == key and kind == (linear.shape, linear.dtype, linear.device)
            if same and torch.equal(before, linear):
                return factors
        # what is kept must serve training too
        with torch.inference_mode(torch.is_inference_mode_enabled() and not constant):
            factors = make()
        if constant:
            self._made = key, linear.detach().clone(), factors  # L may be changed in place
        return factors

    @torch.inference_mode(False)
    def _stacks(self, factors: Sequence[Tensor]) -> Stacks | None:
        """The factors stacked; those of the last call again if the factors are the same."""
        stacked, remembered = self._stacked, self._made  # once: other threads may set them
        if stacked is not None and stacked[0] is factors:
            return stacked[1]
        with torch.no_grad():
            stacks = Stacks.of(stepper(self.stepper).tableau, factors)
        kept = remembered is not None and remembered[2] is factors
        self._stacked = (factors, stacks) if kept else None
        return stacks
