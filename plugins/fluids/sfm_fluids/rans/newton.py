"""Steady states of one-dimensional balances by Newton's method, and their derivatives.

The unknowns x (..., N, M) are M fields at N nodes in a row and the rates r(x) at a node depend on
the node and its two neighbours. So 3 M vector-Jacobian products, made in one backward pass over
3 M copies of x, give the whole Jacobian. Where Newton's method alone fails, steps of implicit
Euler with a growing time step lead to the steady state (pseudo-transient continuation, Kelley and
Keyes 1998).

At the steady state r(x*, p) = 0, and `sfm.simulate.fixed_point` differentiates it: one linear
system for all parameters, no matter how many iterations there were.

Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError
from sfm.simulate.fixed_point import implicit
from sfm.simulate.krylov import Operator

Rates = Callable[[Float[Tensor, "*flows N M"]], Float[Tensor, "*flows N M"]]


class SteadyState(NamedTuple):
    """x (..., N, M), the Jacobian (..., N M, N M) there, and how many iterations it took."""

    x: Tensor
    jacobian: Tensor
    iterations: int


def jacobian(
    rates: Rates, x: Float[Tensor, "*flows N M"]
) -> tuple[Float[Tensor, "*flows N M"], Float[Tensor, "*flows N*M N*M"]]:
    """r(x) (..., N, M) and dr/dx (..., N M, N M), both without a graph."""
    *batch, n, m = x.shape
    index, colours = torch.arange(n, device=x.device), 3 * m
    with torch.inference_mode(False), torch.enable_grad():
        seed = torch.zeros(colours, *x.shape, dtype=x.dtype, device=x.device)
        for colour in range(colours):
            seed[colour, ..., index[colour // m :: 3], colour % m] = 1
        copies = x.detach().expand(seed.shape).clone().requires_grad_()
        r = rates(copies)
        (products,) = torch.autograd.grad(r, copies, seed)
    dense = x.new_zeros(*batch, n, m, n, m)
    for offset in (-1, 0, 1):
        rows = index[max(0, -offset) : n - max(0, offset)]
        columns = rows + offset
        for field in range(m):
            entries = (rows % 3) * m + field
            dense[..., rows, field, columns, :] = products.movedim(0, -3)[..., entries, columns, :]
    return r[0].detach(), dense.reshape(*batch, n * m, n * m)


def steady_state(
    rates: Rates,
    guess: Float[Tensor, "*flows N M"],
    *,
    where: str,
    logarithmic: int = 0,
    max_iterations: int = 200,
    tolerance: float = 1e-9,
) -> SteadyState:
    """x with r(x) = 0 near `guess`; no graph.

    Args:
        rates: r, batched over leading axes, float64.
        guess: (..., N, M).
        where: the part's name, for the message.
        logarithmic: how many of the last fields are logarithms; they change by 1 a step at most.
        max_iterations: of Newton's method.
        tolerance: largest last change, relative to the largest value of each field.

    Raises:
        RunError: no convergence.
    """
    solution = _iterate(rates, guess, logarithmic, 12, tolerance, time_step=1e14)
    if solution is None:
        solution = _iterate(rates, guess, logarithmic, max_iterations, tolerance, time_step=1.0)
    if solution is None:
        raise RunError(
            f"{where}: Newton's method found no steady state in {max_iterations} iterations; the "
            "model may have no turbulent one at these parameters (Re_tau too low?): change them, "
            "or refine the grid"
        )
    return solution


def _iterate(
    rates: Rates, x: Tensor, logarithmic: int, iterations: int, tolerance: float, time_step: float
) -> SteadyState | None:
    x, linear = x.detach(), x.shape[-1] - logarithmic
    identity = torch.eye(x.shape[-1] * x.shape[-2], dtype=x.dtype, device=x.device)
    r, dr = jacobian(rates, x)
    for iteration in range(1, iterations + 1):
        step = torch.linalg.solve(identity / time_step - dr, r.flatten(-2)).reshape(x.shape)
        largest = step[..., linear:].abs().amax((-1, -2), keepdim=True) if logarithmic else None
        shorten = torch.ones(()) if largest is None else 1 / largest.clamp_min(1)
        trial = x + shorten.to(x) * step
        trial_r, trial_dr = jacobian(rates, trial)
        if not bool(torch.isfinite(trial_r).all()):
            time_step /= 10
            continue
        scale = trial.abs().amax(-2, keepdim=True).clamp_min(1)
        change = float((step / scale).abs().max())
        x, r, dr = trial, trial_r, trial_dr
        if change < tolerance and time_step >= 1e10:
            return SteadyState(x, dr, iteration)
        growth = 10.0 if change < 0.1 else 3.0 if change < 1 else 1.0
        time_step = min(time_step * growth, 1e14)
    return None


def follow(
    rates: Rates, steady: SteadyState, *, where: str, order: int = 2
) -> Float[Tensor, "*flows N M"]:
    """x* (..., N, M), which follows every parameter in `rates`, in both modes, up to `order`."""

    def against(matrix: Tensor) -> Operator:
        return lambda r: torch.linalg.solve(matrix, r.flatten(-2)).reshape(r.shape)

    return implicit(
        steady.x,
        rates,
        solve=against(steady.jacobian),
        adjoint=against(steady.jacobian.mT),
        order=order,
        improve=True,
        where=where,
    )
