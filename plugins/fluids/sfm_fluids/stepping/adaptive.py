"""Steps as long as an error estimate and a Courant number allow, differentiable along them.

The steps are found without gradients; a gradient is then that of the sequence of accepted steps
with their lengths held fixed, at the cost of one more forward pass.

Any consistent system of units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Inexact, Shaped
from torch import Tensor

from sfm.errors import RunError
from sfm.simulate.rollout import rollout
from sfm_fluids.stepping import bogacki_shampine as pair

Term = Callable[..., Inexact[Tensor, " ..."]]


@dataclass(frozen=True)
class Controller:
    """How a step's length is chosen.

    The error of a step, relative to the norm of u (the worst flow of a batch), is kept at
    `tolerance` by a PI controller (K. Gustafsson, ACM Trans. Math. Softw. 17, 533 (1991), with the
    exponents 0.7/3 and 0.4/3 of E. Hairer and G. Wanner, Solving ODEs II, IV.2).

    Attributes:
        tolerance: relative error of one step.
        longest: no step is longer.
        courant: largest step times `rate`.
        rate: u -> largest speed over cell size, the inverse of the time to cross a cell; or None.
    """

    tolerance: float
    longest: float
    courant: float = 1.0
    rate: Callable[[Inexact[Tensor, " ..."]], float] | None = None

    def limit(self, u: Inexact[Tensor, "B ..."]) -> float:
        """The longest step that is allowed at u (B, ...)."""
        rate = 0.0 if self.rate is None else self.rate(u)
        return min(self.longest, self.courant / rate) if rate > 0 else self.longest

    def growth(self, error: float, before: float) -> float:
        """Factor for the next step, from the errors over tolerance of this one and the last."""
        if not math.isfinite(error):
            return 0.2
        wish = 0.9 * max(error, 1e-10) ** (-0.7 / pair.ORDER)
        factor: float = wish * max(before, 1e-10) ** (0.4 / pair.ORDER)
        return min(5.0, max(0.2, factor))


@dataclass(frozen=True)
class Accepted:
    """Where a search ended: the coefficients, and the lengths of the steps that led there."""

    end: Tensor
    lengths: tuple[float, ...]
    rejected: int


def search(
    u: Inexact[Tensor, "B ..."],
    term: Callable[[Inexact[Tensor, " ..."], float], Inexact[Tensor, " ..."]],
    linear: Inexact[Tensor, " ..."],
    duration: float,
    controller: Controller,
    *,
    time: float = 0.0,
) -> Accepted:
    """Integrate u' = L u + N(u, t) over `duration` from `time`, without gradients.

    u has a batch axis first. The state and N may be real views: L then has their shape.

    Raises:
        RunError: the step became too short: the solution blew up, or the tolerance is out of reach.
    """
    lengths: list[float] = []
    done, rejected, before = 0.0, 0, 1.0
    dtype = u.real.dtype
    first: Tensor | None = None
    length = controller.limit(u)
    while duration - done > 1e-12 * duration:
        left = duration - done
        h = left if length >= left else (left / 2 if length > left / 2 else length)
        factors = pair.coefficients(linear, h, dtype)
        start = time + done

        def nonlinear(w: Tensor, c: float, start: float = start, h: float = h) -> Tensor:
            return term(w, start + c * h)

        end, error, last = pair.step_with_error(u, nonlinear, factors, h, first)
        size = _ratio(error, u, end) / controller.tolerance
        if size <= 1.0:
            u, first = end, last
            done += h
            lengths.append(h)
            length = min(h * controller.growth(size, before), controller.limit(u))
            before = size
            continue
        rejected += 1
        length = h * min(0.9, controller.growth(size, 1.0))
        if not length > 1e-10 * duration:
            raise RunError(
                f"the step fell to {length:.1e} at t = {start:.6g}: the flow blew up, or "
                f"tolerance={controller.tolerance:g} is out of reach of {dtype}"
            )
    return Accepted(u, tuple(lengths), rejected)


def _ratio(error: Tensor, before: Tensor, after: Tensor) -> float:
    def norm(x: Tensor) -> Tensor:
        size: Tensor = torch.linalg.vector_norm(x.reshape(len(x), -1), dim=1)
        return size

    scale = torch.maximum(norm(before), norm(after)) + torch.finfo(before.real.dtype).tiny
    return float((norm(error) / scale).max())


def replay(
    u: Inexact[Tensor, "*shape"],
    term: Term,
    linear: Inexact[Tensor, " ..."],
    tensors: Sequence[Shaped[Tensor, " ..."]],
    lengths: Sequence[float],
    *,
    time: float = 0.0,
    recompute: bool = True,
    segment: int = 1,
) -> Inexact[Tensor, "*shape"]:
    """The accepted steps again, differentiable in u, L and `tensors`; term(u, t, *tensors)."""
    starts = [time + t for t in accumulate(lengths, initial=0.0)]

    def advance(u: Tensor, n: int, linear: Tensor, *tensors: Tensor) -> Tensor:
        h = lengths[n]
        factors = pair.coefficients(linear, h, u.real.dtype)
        return pair.TABLEAU.step(u, lambda w, c: term(w, starts[n] + c * h, *tensors), factors)

    return rollout(
        advance,
        u,
        (linear, *tensors),
        len(lengths),
        recompute=recompute,
        segment=segment,
    )
