"""Lyapunov exponents of any differentiable simulator: how fast neighbouring trajectories part.

Tangent vectors are carried along exactly, by forward-mode differentiation through `forward`, and
orthonormalised at intervals (G. Benettin, L. Galgani, A. Giorgilli and J.-M. Strelcyn, Meccanica
15, 9 (1980)). Many trajectories at once are cheap: average over the batch, not over one long run.
Forward mode has a fixed cost of some milliseconds a step on a CPU; up to about a thousand small
fields at a time cost hardly more than one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError, RunError
from sfm.simulate import Simulator

Pack = Callable[[Any], Float[Tensor, "B n"]]
Unpack = Callable[[Float[Tensor, "B n"], Any], Any]


@dataclass(frozen=True)
class Lyapunov:
    """The leading exponents of B trajectories, per unit of the simulator's time.

    Attributes:
        exponents: (count,), mean over trajectories, largest first.
        standard_error: (count,), of that mean, from the scatter of the trajectories (NaN for one).
        by_trajectory: (B, count).
        state: where the trajectories ended.
    """

    exponents: Tensor
    standard_error: Tensor
    by_trajectory: Tensor
    state: Any


def lyapunov(
    simulator: Simulator,
    state: Any,
    *,
    dt: float | None = None,
    count: int = 1,
    intervals: int = 100,
    steps: int = 10,
    skip: int | None = None,
    pack: Pack | None = None,
    unpack: Unpack | None = None,
    seed: int = 0,
) -> Lyapunov:
    """The `count` leading exponents along the trajectories that start at `state`.

    Start on the attractor: advance a state first. The vectors turn to the leading directions during
    `skip` intervals, which are not counted.

    Args:
        simulator: its `forward` must be differentiable in forward mode and batched.
        state: B initial states: a tensor (B, n), or whatever `pack` takes.
        dt: time of one step; `simulator.dt` if None.
        count: how many exponents, at most n.
        intervals: how many times to orthonormalise and count the growth.
        steps: steps of the simulator in one interval; the vectors must not align within it.
        skip: intervals before counting; a quarter of `intervals` if None.
        pack: state -> real coefficients (B, n); `simulator.pack` if it has one, else the state
            itself. Directions that it leaves out (a conserved mean, the time) are not perturbed.
        unpack: (coefficients, a state that gives the rest) -> state.
        seed: of the first vectors.

    Returns:
        exponents with standard errors. The error of a zero exponent falls only as 1 / time.

    Raises:
        InputError: a number out of range, or a state that is no tensor without `pack`.
        RunError: the trajectories are not finite.
    """
    to_vector, to_state = _coefficients(simulator, state, pack, unpack)
    dt = float(getattr(simulator, "dt", 0.0)) if dt is None else dt
    if not dt > 0:
        raise InputError(f"{simulator.part}: has no setting dt; give dt, the time of one step")
    start = to_vector(state).detach()
    if start.ndim != 2:
        raise InputError(f"{simulator.part}: coefficients {tuple(start.shape)} are not (B, n)")
    if not 1 <= count <= start.shape[1]:
        raise InputError(f"count={count} is not between 1 and the {start.shape[1]} coefficients")
    skip = intervals // 4 if skip is None else skip
    if intervals < 1 or steps < 1 or skip < 0:
        raise InputError(f"intervals={intervals}, steps={steps}, skip={skip}: need >= 1, 1, 0")

    def advance(x: Tensor) -> Tensor:
        return to_vector(simulator(to_state(x, state), steps))

    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(len(start), start.shape[1], count, generator=generator, dtype=torch.float64)
    growth, end = _growth(advance, start, first, skip, intervals)
    if not bool(torch.isfinite(growth).all()):
        raise RunError(f"{simulator.part}: the trajectories blew up; take a smaller dt")
    rates = growth / (intervals * steps * dt)
    scatter = rates.std(0) if len(rates) > 1 else torch.full_like(rates[0], torch.nan)
    return Lyapunov(rates.mean(0), scatter / len(rates) ** 0.5, rates, to_state(end, state))


def _coefficients(
    simulator: Simulator, state: Any, pack: Pack | None, unpack: Unpack | None
) -> tuple[Pack, Unpack]:
    """How states become vectors and back: what is given, the simulator's own, or the state."""
    pack = pack or getattr(simulator, "pack", None)
    unpack = unpack or getattr(simulator, "unpack", None)
    if pack is not None and unpack is not None:
        return pack, unpack
    if not isinstance(state, Tensor):
        raise InputError(
            f"{simulator.part}: its state is a {type(state).__name__}, no tensor; "
            "give pack and unpack"
        )
    return _itself, _first


@torch.no_grad()
def _growth(
    advance: Callable[[Tensor], Tensor], x: Tensor, vectors: Tensor, skip: int, intervals: int
) -> tuple[Tensor, Tensor]:
    """Logarithm of the growth of each direction, (B, count), after `skip` intervals; the end."""
    frame = torch.linalg.qr(vectors.to(x)).Q
    growth = torch.zeros(len(x), vectors.shape[-1], dtype=torch.float64, device=x.device)
    for number in range(skip + intervals):
        x, moved = propagate(advance, x, frame)
        frame, r = torch.linalg.qr(moved)
        if number >= skip:
            growth += r.diagonal(dim1=-2, dim2=-1).abs().double().log()
    return growth, x


def propagate(
    function: Callable[[Float[Tensor, "B n"]], Float[Tensor, "B n"]],
    x: Float[Tensor, "B n"],
    vectors: Float[Tensor, "B n count"],
) -> tuple[Float[Tensor, "B n"], Float[Tensor, "B n count"]]:
    """(f(x), J(x) v) for x (B, n) and vectors (B, n, count): exact, by forward differentiation."""

    def along(v: Tensor) -> tuple[Tensor, Tensor]:
        value, moved = torch.func.jvp(function, (x,), (v,))  # type: ignore[misc]
        return value, moved

    each = torch.func.vmap(along, in_dims=-1, out_dims=(None, -1))  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # torch's own first use of forward mode compiles with a deprecated torch.jit
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        return each(vectors)


def _itself(state: Tensor) -> Tensor:
    return state


def _first(vector: Tensor, like: Tensor) -> Tensor:
    return vector
