"""Steady flows by Newton's method, and their exact derivatives.

The unknown is a stream function at the corners, so that every iterate is free of divergence and the
pressure drops out: the circulation of the forces around each free corner must vanish. Each
iteration factorises the sparse Jacobian. Far from the solution a pseudo-time step
damps the iteration; it grows as the residual falls (C. T. Kelley and D. E. Keyes, SIAM J. Numer.
Anal. 35, 508 (1998)).

Derivatives are implicit (`sfm.simulate.fixed_point`), with the Jacobian of the solution, whose
factors are at hand. Nothing of the iteration is kept. First derivatives only.

Any consistent system of units.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from sfm.errors import InputError, RunError
from sfm.progress import report
from sfm.simulate.fixed_point import implicit
from sfm.simulate.krylov import Operator
from sfm_fluids.staggered import operators as ops
from sfm_fluids.staggered.flow import Flow, StaggeredState
from sfm_fluids.staggered.sparse_jacobian import Unknowns


def _against(factors: SuperLU, transposed: bool = False) -> Operator:
    """b -> J^-1 b, or J^-T b."""
    trans = "T" if transposed else "N"

    def solve(b: Tensor) -> Tensor:
        return torch.from_numpy(factors.solve(b.detach().numpy(), trans=trans))

    return solve


def _velocity(z: Tensor, base: tuple[Tensor, Tensor], unknowns: Unknowns) -> tuple[Tensor, Tensor]:
    psi, mean = unknowns.split(z)
    u, v = ops.curl_of_stream_function(psi, unknowns.grid)
    if mean is not None:
        u = u + mean[..., None, None]
    return base[0] + u, base[1] + v


def _residual(z: Tensor, base: tuple[Tensor, Tensor], flow: Flow, unknowns: Unknowns) -> Tensor:
    """Circulation of the forces at the free corners, and their sum along a periodic channel."""
    u, v = _velocity(z, base, unknowns)
    ru, rv = flow.tendency(u, v)
    mean = None
    if unknowns.uniform:
        mean = (flow.grid.volumes(u)[1] * ru).sum((-2, -1))
    return unknowns.joined(ops.circulation(ru, rv, flow.grid), mean)


def steady(
    flow: Flow,
    u: Float[Tensor, "*#B H Nx"],
    v: Float[Tensor, "*#B Ny W"],
    *,
    name: str,
    pseudo_step: float = 1.0,
    tolerance: float = 1e-9,
    max_iterations: int = 60,
) -> StaggeredState:
    """The steady flow near a start, differentiable in everything that `flow` and the sides hold.

    Args:
        flow: the problem.
        u: (1, H, N_x), the start; its ends hold the velocity given there.
        v: (1, N_y, W), likewise.
        name: of the simulator, for messages.
        pseudo_step: first step in pseudo-time.
        tolerance: largest change of the last iteration, relative to the largest speed;
            convergence is quadratic, so the error is far smaller.
        max_iterations: then it gives up.

    Returns:
        The state, in the dtype of u; solved in float64.

    Raises:
        InputError: several flows at once, or a box that is periodic along both axes.
        RunError: no convergence, as where no steady flow is stable or the grid is too coarse.
    """
    if u.shape[0] != 1 or u.ndim != 3:
        raise InputError(f"{name}: one steady flow at a time, not u of shape {tuple(u.shape)}")
    if flow.grid.x.periodic and flow.grid.y.periodic:
        raise InputError(f"{name}: a steady flow needs walls along one axis at least; step in time")
    dtype = u.dtype
    flow, u, v = _single(flow.to(torch.float64), name), u[0].double(), v[0].double()
    unknowns = Unknowns(flow.grid)
    base = flow.project(u, v)[:2]
    fixed, known = flow.detach(), (base[0].detach(), base[1].detach())
    with torch.no_grad():
        z, factors = _newton(fixed, known, unknowns, name, pseudo_step, tolerance, max_iterations)
    z = implicit(
        z,
        lambda z: _residual(z, base, flow, unknowns),
        solve=_against(factors),
        adjoint=_against(factors, transposed=True),
        improve=True,
        where=f"{name}: steady flow",
    )
    u, v = _velocity(z, base, unknowns)
    p = flow.pressure(u, v)
    u, v, p = (x[None].to(dtype) for x in (u, v, p))
    return StaggeredState(u, v, p, u.new_zeros(()))


def _single(flow: Flow, name: str) -> Flow:
    """The flow without batch axes, which must have length one."""

    def one(field: Tensor) -> Tensor:
        if field.shape[:-2].numel() != 1:
            raise InputError(f"{name}: one steady flow at a time, not {field.shape[:-2].numel()}")
        return field.reshape(field.shape[-2:])

    return flow.map(one)


def _newton(
    flow: Flow,
    base: tuple[Tensor, Tensor],
    unknowns: Unknowns,
    name: str,
    pseudo_step: float,
    tolerance: float,
    max_iterations: int,
) -> tuple[Tensor, SuperLU]:
    """The solution and the factors of its Jacobian."""

    def function(z: Tensor) -> Tensor:
        return _residual(z, base, flow, unknowns)

    def momentum(z: Tensor) -> Tensor:
        """What the pseudo-time derivative acts on: the circulation of the velocity."""
        u, v = _velocity(z, (torch.zeros_like(base[0]), torch.zeros_like(base[1])), unknowns)
        mean = (flow.grid.volumes(u)[1] * u).sum((-2, -1)) if unknowns.uniform else None
        return unknowns.joined(ops.circulation(u, v, flow.grid), mean)

    z = base[0].new_zeros(unknowns.size)
    mass = unknowns.jacobian(momentum, z)
    metric = splu(mass)

    def size_of(residual: Tensor) -> float:
        """Root of the kinetic energy of the acceleration that is left."""
        weighed = torch.from_numpy(metric.solve(residual.numpy()))
        return math.sqrt(abs(float(weighed @ residual)))

    now, step = function(z), pseudo_step
    size, matrix = math.inf, unknowns.jacobian(function, z)
    for iteration in range(max_iterations):
        left = f"acceleration left {size:.1e}"
        report(f"{name}: steady flow, iteration", iteration, max_iterations, left)
        factors = _factors((matrix - mass / step).tocsc(), name)
        change = -torch.from_numpy(factors.solve(now.numpy()))
        after = function(z + change)
        new_size = size_of(after)
        if new_size == 0:  # as a fluid at rest
            return z + change, _factors(unknowns.jacobian(function, z + change), name)
        if not new_size < 2 * size:
            step = step / 4
            continue
        z, now, gain, size = z + change, after, size / max(new_size, 1e-300), new_size
        matrix = unknowns.jacobian(function, z)
        u, v = _velocity(z, base, unknowns)
        moved = _velocity(change, (0 * base[0], 0 * base[1]), unknowns)
        speed = max(float(w.abs().max()) for w in (u, v))
        if step > 1e6 and max(float(w.abs().max()) for w in moved) <= tolerance * speed:
            return z, _factors(matrix, name)
        if math.isfinite(gain):
            growth = gain**1.5 if gain > 20 else min(max(gain, 0.3), 2.0)
            step = min(step * growth, 1e14)
    raise RunError(
        f"{name}: no steady flow found in {max_iterations} iterations; "
        "refine the grid, raise the viscosity, or step in time"
    )


def _factors(matrix: csc_matrix, name: str) -> SuperLU:
    try:
        return splu(matrix)
    except RuntimeError:
        raise RunError(
            f"{name}: the steady flow is not unique (no viscosity?); raise the viscosity"
        ) from None
