"""One step of a tableau on u' = L u + N(u, t), with its adjoint, as a rollout takes it.

Times, rates and coefficients in any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Inexact, Shaped
from torch import Tensor

from sfm.simulate.function_transforms import traced
from sfm.simulate.step import Adjoint, by_autograd
from sfm_fluids.stepping.stacked import Fused, Stacks, Work
from sfm_fluids.stepping.tableau import Pull, Tableau, Totals
from sfm_fluids.stepping.term import Term


def paired(factor: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 2"]:
    """A real factor of complex coefficients, for their real view (..., 2).

    Real products of interleaved numbers are the fastest kernels there are, on every device. The
    memory layout stays that of the factor.
    """
    return torch.view_as_real(torch.complex(factor, factor))


@dataclass
class ExponentialStep:
    """A `Step` of a rollout, for u (B, ...).

    Its tensors are the method's factors, then the term's tensors.

    Attributes:
        tableau: the method.
        term: N.
        count: how many of the tensors are factors.
        dt: length of a step.
        time: time at n = 0, in the term's clock.
        first: number of the step at n = 0, for the part of N that is held through a step.
        pairs: whether u is the real view of complex coefficients.
        stacks: the factors that all steps get, stacked, for steps with fewer calls; None for the
            plain way.
    """

    tableau: Tableau
    term: Term
    count: int
    dt: float
    time: float
    first: int
    pairs: bool
    stacks: Stacks | None = None
    _work: Work | None = field(default=None, repr=False)

    def advance(
        self, u: Inexact[Tensor, "*shape"], n: int, *tensors: Shaped[Tensor, " ..."]
    ) -> Inexact[Tensor, "*shape"]:
        factors, given = tensors[: self.count], tensors[self.count :]
        start, dt, term = self.time + n * self.dt, self.dt, self.term
        work = self._ready(u)
        held = None
        if term.held is not None:
            held = self._out(term.held(self._in(u), self.first + n, *given))
        if term.fast is not None and not torch.is_grad_enabled() and not traced():
            fast = term.fast

            def nonlinear(w: Tensor, c: float) -> Tensor:
                value = self._from_term(fast(self._to_term(w), start + c * dt, *given))
                return value if held is None else value.add_(held)

            if work is not None:
                return work.step(u, nonlinear, self._fused(start, given))
            return self.tableau.step(u, nonlinear, factors)

        def readable(w: Tensor, c: float) -> Tensor:
            value = self._out(term.function(self._in(w), start + c * dt, *given))
            return value if held is None else value + held

        return self.tableau.step(u, readable, factors)

    def _fused(
        self, start: float, given: Sequence[Tensor], rest: Sequence[Totals] | None = None
    ) -> Fused | None:
        """The term's own way through a stage, for `Work`; None where a part of N is held.

        With `rest` the adjoint comes too, and adds to the first of it when it runs.
        """
        fused, dt = self.term.fused, self.dt
        if fused is None or self.term.held is not None or self.term.pairs != self.pairs:
            return None

        def through(
            u: Tensor, now: Tensor, c: float, *accumulators: Tensor
        ) -> tuple[Tensor, Any] | None:
            both = fused(u, now, start + c * dt, *accumulators, rest is not None, *given)
            if both is None or rest is None:
                return both
            after, pull = both
            assert pull is not None
            return after, lambda grad, *accumulators: pull(grad, rest[0], *accumulators)

        return through

    def _ready(self, u: Tensor) -> Work | None:
        """Accumulators for u, where nobody watches and the factors are stacked."""
        stacks = self.stacks
        if stacks is None or torch.is_grad_enabled() or traced():
            return None
        if self._work is None or self._work.shape != u.shape:
            if not stacks.suit(u):
                return None
            self._work = Work(stacks, u)
        return self._work

    def linearise(
        self,
        u: Inexact[Tensor, "*shape"],
        n: int,
        needs_grad: Sequence[bool],
        *tensors: Shaped[Tensor, " ..."],
    ) -> tuple[Inexact[Tensor, "*shape"], Adjoint]:
        return self._linearise(u, n, needs_grad, tensors, True)

    def adjoint(
        self,
        u: Inexact[Tensor, "*shape"],
        n: int,
        needs_grad: Sequence[bool],
        *tensors: Shaped[Tensor, " ..."],
    ) -> Adjoint:
        return self._linearise(u, n, needs_grad, tensors, False)[1]

    def kept(self, u: Inexact[Tensor, " ..."], needs_grad: Sequence[bool]) -> int:
        term = self.term
        if term.kept is None or term.held is not None:
            return 0
        stages, state = len(self.tableau.nodes), u.numel() * u.element_size()
        states = 1 + stages if any(needs_grad[: self.count]) or self._ready(u) is None else 1
        fields = term.kept(self._to_term(u))
        return stages * fields + states * state if fields else 0

    def _linearise(
        self, u: Tensor, n: int, needs_grad: Sequence[bool], tensors: Sequence[Tensor], end: bool
    ) -> tuple[Tensor, Adjoint]:
        """The step, or with no `end` anything, and its adjoint."""
        factors, given = tensors[: self.count], tensors[self.count :]
        sums: list[Tensor] = []  # gradient of the held part
        rest: list[Totals] = []  # totals of the term's tensors, known when the adjoint runs
        held, pull_held = None, None
        if self.term.held is not None:
            function = self.term.held
            held, pull_held = by_autograd(
                lambda v, *t: self._out(function(self._in(v), self.first + n, *t)),
                u,
                given,
                needs_grad[self.count :],
            )

        def evaluate(stage: Tensor, c: float, needed: bool) -> tuple[Tensor | None, Pull]:
            time = self.time + (n + c) * self.dt
            value, pull = self._evaluate(stage, time, needed, given, needs_grad[self.count :])

            def back(grad: Tensor) -> Tensor:
                if held is not None:
                    sums.append(grad)
                gradient: Tensor = pull(grad, rest[0])
                return gradient

            return (value if held is None or value is None else value + held), back

        work = self._ready(u)
        if work is not None:
            learned = any(needs_grad[: self.count])
            fused = self._fused(self.time + n * self.dt, given, rest)
            after, adjoint = work.linearise(u, evaluate, factors, learned, end, fused)
        else:
            after, adjoint = self.tableau.linearise(u, evaluate, factors)

        def whole(grad: Tensor, totals: Totals) -> Tensor:
            rest[:] = [totals[self.count :]]  # anew, even after a pass that failed
            sums.clear()
            grad_u = adjoint(grad, totals[: self.count])
            if pull_held is not None:
                grad_u = grad_u + pull_held(torch.stack(sums).sum(0), rest[0])
            rest.clear()
            sums.clear()
            return grad_u

        return after, whole

    def _evaluate(
        self,
        stage: Tensor,
        time: float,
        needed: bool,
        given: Sequence[Tensor],
        needs_grad: Sequence[bool],
    ) -> tuple[Tensor | None, Adjoint]:
        """N at a stage, None where its adjoint is to be had without it, and its adjoint."""
        if self.term.linearise is None:
            value, pull = by_autograd(
                lambda v, *t: self.term.function(v, time, *t), self._in(stage), given, needs_grad
            )
            return self._out(value), lambda grad, totals: self._out(pull(self._in(grad), totals))
        after: Tensor | None = None
        if needed or self.term.pull is None:
            value, own_pull = self.term.linearise(self._to_term(stage), time, *given)
            after = self._from_term(value)
        else:
            own_pull = self.term.pull(self._to_term(stage), time, *given)
        return after, lambda grad, totals: self._from_term(own_pull(self._to_term(grad), totals))

    def _to_term(self, u: Tensor) -> Tensor:
        """u as the term's own kernels take it."""
        if self.term.pairs == self.pairs:
            return u
        return torch.view_as_real(u.resolve_conj()) if self.term.pairs else torch.view_as_complex(u)

    def _from_term(self, u: Tensor) -> Tensor:
        if self.term.pairs == self.pairs:
            return u
        return torch.view_as_complex(u) if self.term.pairs else torch.view_as_real(u.resolve_conj())

    def _in(self, u: Tensor) -> Tensor:
        return torch.view_as_complex(u) if self.pairs else u

    def _out(self, u: Tensor) -> Tensor:
        return torch.view_as_real(u.resolve_conj()) if self.pairs else u
