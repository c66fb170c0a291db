"""Krylov methods for linear systems A x = b, many at once, with A known by its products alone.

    conjugate_gradients   A self-adjoint and positive definite
    gmres                 any A; keeps a vector per iteration, or restarts
    bicgstab              any A, in the memory of eight vectors

Every system of a batch stops by itself, at its own right-hand side's scale, and rests while the
others go on. Nothing is returned that did not converge. The iterations are not differentiated;
`sfm.simulate.linear_solve` differentiates the solution.

Of what others maintain, linear_operator (GPyTorch) has batched conjugate gradients that stop at the
mean residual of the batch and warn where they fail; torch-sla and torchsparsegradutils take
explicit sparse matrices; SciPy's take one system at a time, outside torch. None has all that the
simulators need: operators, batches, other inner products, and telling a saddle point from slow
convergence.

References: Y. Saad, Iterative Methods for Sparse Linear Systems (2nd ed., SIAM, 2003), algorithms
6.18 (conjugate gradients; 9.1 preconditioned), 6.9 and 9.5 (GMRES, preconditioned from the right),
7.7 (BiCGStab).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Inexact
from torch import Tensor

from sfm.errors import RunError

Operator = Callable[[Tensor], Tensor]
"""A linear map of tensors of one shape."""


class NotConverged(RunError):
    """The iteration ended above its tolerance.

    Attributes:
        residual: the largest relative residual that was left.
        iterations: that were done.
    """

    def __init__(self, text: str, residual: float, iterations: int) -> None:
        super().__init__(text)
        self.residual, self.iterations = residual, iterations


class Indefinite(RunError):
    """Conjugate gradients met a direction of zero or negative curvature: A is not positive."""


class NotFinite(RunError):
    """The right-hand side, or a product with A, holds NaN or infinity."""


class Solved(NamedTuple):
    """Solutions x of the shape of b, the largest relative residual, and how many iterations."""

    x: Tensor
    residual: float
    iterations: int


Method = Callable[..., Solved]


class _Systems:
    """B systems of n unknowns each, as rows (B, n), whatever the shape of b."""

    def __init__(self, b: Tensor, batch_axes: int, where: str) -> None:
        self.shape, self.where = b.shape, where
        count = b.shape[:batch_axes].numel()
        self.rows = (count, b.numel() // max(count, 1))
        self.b = b.reshape(self.rows)
        if not bool(self.b.isfinite().all()):
            raise NotFinite(f"{where}: the right-hand side is not finite")

    def map(self, operator: Operator | None) -> Operator:
        """The operator on rows; the identity for None."""
        if operator is None:
            return lambda x: x
        return lambda x: operator(x.reshape(self.shape)).reshape(self.rows)

    def finite(self, value: Tensor) -> None:
        if not bool(value.isfinite().all()):
            raise NotFinite(f"{self.where}: a product with the operator is not finite")

    def finish(
        self,
        x: Tensor,
        residual: Tensor,
        iterations: int,
        tolerance: float,
        hint: str,
    ) -> Solved:
        """The answer if the relative residuals (B, 1) are small enough."""
        worst = float(residual.max()) if residual.numel() else 0.0
        if not worst <= tolerance:
            raise NotConverged(
                f"{self.where}: a relative residual of {worst:.1e} is left after {iterations} "
                f"iterations (wanted {tolerance:.0e}): {hint}",
                worst,
                iterations,
            )
        return Solved(x.reshape(self.shape), worst, iterations)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(B, 1), real."""
    product = (a.conj() * b).sum(-1, keepdim=True)
    return product.real if product.is_complex() else product


def _ratio(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    """a / b there, else 0."""
    return torch.where(where, a / b, 0.0)


@torch.no_grad()
def conjugate_gradients(
    product: Operator,
    b: Inexact[Tensor, "*unknowns"],
    *,
    precondition: Operator | None = None,
    inner: Operator | None = None,
    project: Operator | None = None,
    batch_axes: int = 0,
    tolerance: float = 1e-10,
    accept: float | None = None,
    max_iterations: int | None = None,
    where: str = "conjugate gradients",
) -> Solved:
    """x with A x = b, A self-adjoint and positive definite where b lies.

    Args:
        product: v -> A v, on tensors of the shape of b.
        b: (..., *unknowns), of any float or complex dtype.
        precondition: v -> M v with M close to A^-1, self-adjoint and positive.
        inner: v -> W v of the inner product <a, b> = a . W b in which A (and M) are self-adjoint; W
            is positive semidefinite. None: the plain one. Residuals are measured in it.
        project: v -> P v onto the subspace where A is positive definite, where A has a null space,
            as a constant. The rest of b is dropped, and x has none.
        batch_axes: how many leading axes count independent systems.
        tolerance: the norm of b - A x over that of b (all of it), of every system, by the
            recurrence.
        accept: the same, enough where `max_iterations` are used up, as when rounding stops an
            iteration short of its goal. None: `tolerance`.
        max_iterations: None: 100 and ten for each unknown.
        where: what is solved, for messages.

    Raises:
        Indefinite: A has a direction of zero or negative curvature.
        NotConverged: `max_iterations` were not enough.
        NotFinite: b or a product is not finite.
    """
    systems = _Systems(b, batch_axes, where)
    apply, weigh, within = map(systems.map, (product, inner, project))
    prepare = systems.map(precondition)
    plain = precondition is None and project is None
    limit = 100 + 10 * systems.rows[1] if max_iterations is None else max_iterations

    first = _dot(systems.b, weigh(systems.b))
    goal = tolerance**2 * first
    lost = first / torch.finfo(first.dtype).eps ** 2  # as where A is singular, b not in its range
    r = within(systems.b)
    x, z = torch.zeros_like(r), prepare(within(r))
    p = z
    rr = _dot(r, weigh(r))
    rz = rr if plain else _dot(r, weigh(z))
    iteration = 0
    for iteration in range(limit + 1):
        going = rr > goal
        if iteration == limit or not bool(going.any()):
            break
        image = apply(p)
        curvature = _dot(p, weigh(image))
        if bool((going & (~(curvature > 0) | (rr > lost))).any()):
            if bool((rr > lost).any()):
                break
            systems.finite(curvature)
            raise Indefinite(f"{where}: the operator is not positive definite")
        step = _ratio(rz, curvature, going)
        x, r = x + step * p, r - step * image
        z = prepare(within(r))
        rr = _dot(r, weigh(r))
        rz, previous = (rr if plain else _dot(r, weigh(z))), rz
        p = z + _ratio(rz, previous, going) * p
    left = _ratio(rr, first, first > 0).sqrt()
    ended = tolerance if accept is None or iteration < limit else max(accept, tolerance)
    hint = "precondition it, or raise max_iterations"
    return systems.finish(within(x), left, iteration, ended, hint)


@torch.no_grad()
def gmres(
    product: Operator,
    b: Inexact[Tensor, "*unknowns"],
    *,
    precondition: Operator | None = None,
    batch_axes: int = 0,
    tolerance: float = 1e-10,
    accept: float | None = None,
    restart: int = 120,
    max_iterations: int | None = None,
    where: str = "GMRES",
) -> Solved:
    """x with A x = b, by generalised minimal residuals; the residual falls steadily.

    Arguments and errors are those of `conjugate_gradients`, b (..., *unknowns) of any unit among
    them, but for:

    Args:
        precondition: v -> M v with M close to A^-1, any linear map.
        tolerance: of the true residual, which is computed once more at the end.
        restart: after so many iterations; the memory is that of as many vectors like b.
        max_iterations: None: 100 and two for each unknown.
    """
    systems = _Systems(b, batch_axes, where)
    apply, prepare = systems.map(product), systems.map(precondition)
    limit = 100 + 2 * systems.rows[1] if max_iterations is None else max_iterations

    r, x, used = systems.b, torch.zeros_like(systems.b), 0
    scale = r.norm(dim=-1, keepdim=True)
    left = _ratio(scale, scale, scale > 0)
    while used < limit and bool((left > tolerance).any()):
        goal = torch.where(left > tolerance, tolerance * scale, torch.inf)
        change, steps = _cycle(
            lambda v: apply(prepare(v)),
            r,
            goal,
            min(restart, limit - used, systems.rows[1]),
            systems,
        )
        x, used = x + prepare(change), used + steps
        r, before = systems.b - apply(x), left
        left = _ratio(r.norm(dim=-1, keepdim=True), scale, scale > 0)
        if bool((left > 0.9 * before)[left > tolerance].any()):
            break  # rounding, or restarts without progress
    ended = tolerance if accept is None else max(accept, tolerance)
    return systems.finish(x, left, used, ended, "precondition it, or restart less often")


def _cycle(
    apply: Operator, r: Tensor, goal: Tensor, size: int, systems: _Systems
) -> tuple[Tensor, int]:
    """The correction (B, n) of smallest residual in a Krylov space of `size` dimensions or fewer.

    It stops where every residual is below its goal (B, 1). Gram-Schmidt is done twice (twice is
    enough: Giraud et al., Numer. Math. 101, 87 (2005)); `turn` are the Givens rotations.
    """
    batch, n = r.shape
    length = r.norm(dim=-1, keepdim=True)
    going = length > goal
    basis = r.new_zeros(batch, size + 1, n)
    basis[:, 0] = _ratio(r, length, length > 0)
    turn = torch.eye(size + 1, dtype=r.dtype, device=r.device).repeat(batch, 1, 1)
    upper, right = r.new_zeros(batch, size, size), r.new_zeros(batch, size)
    steps = 0
    for k in range(size):
        steps = k + 1
        w = apply(basis[:, k])
        known = basis[:, :steps]
        h = r.new_zeros(batch, steps + 1)
        for _ in range(2):
            part = (known.conj() @ w[..., None])[..., 0]
            h[:, :steps] += part
            w = w - (part[:, None] @ known)[:, 0]
        rest = w.norm(dim=-1, keepdim=True)
        systems.finite(rest)
        h[:, steps:] = rest
        t = (turn[:, : steps + 1, : steps + 1] @ h[..., None])[..., 0]
        pivot = t[:, k:].norm(dim=-1, keepdim=True)
        going = going & (pivot > 0)  # else A is singular here
        turned = _ratio(t[:, k:], pivot, going)
        c, s = turned[:, :1, None], turned[:, 1:, None]
        above, below = turn[:, k : k + 1].clone(), turn[:, steps : steps + 1].clone()
        mask = going[..., None]
        turn[:, k : k + 1] = torch.where(mask, c.conj() * above + s.conj() * below, above)
        turn[:, steps : steps + 1] = torch.where(mask, c * below - s * above, below)
        upper[:, :k, k] = torch.where(going, t[:, :k], 0.0)
        upper[:, k : k + 1, k] = torch.where(going, pivot, 1.0).to(r.dtype)
        right[:, k : k + 1] = torch.where(going, turn[:, k, :1] * length, 0.0)
        basis[:, steps] = _ratio(w, rest, rest > 0)
        residual = turn[:, steps, :1].abs() * length
        going = going & (residual > goal) & (rest > 0)
        if not bool(going.any()):
            break
    y = torch.linalg.solve_triangular(upper[:, :steps, :steps], right[:, :steps, None], upper=True)
    return (y.mT @ basis[:, :steps])[:, 0], steps


@torch.no_grad()
def bicgstab(
    product: Operator,
    b: Inexact[Tensor, "*unknowns"],
    *,
    precondition: Operator | None = None,
    batch_axes: int = 0,
    tolerance: float = 1e-10,
    accept: float | None = None,
    max_iterations: int | None = None,
    where: str = "BiCGStab",
) -> Solved:
    """x with A x = b, by stabilised biconjugate gradients; two products an iteration.

    Arguments and errors are those of `gmres`, b (..., *unknowns) of any unit among them. It can
    break down where GMRES would not; that is `NotConverged`.
    """
    systems = _Systems(b, batch_axes, where)
    apply, prepare = systems.map(product), systems.map(precondition)
    limit = 100 + 2 * systems.rows[1] if max_iterations is None else max_iterations

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u.conj() * v).sum(-1, keepdim=True)

    r = shadow = systems.b
    x, p, v = (torch.zeros_like(r) for _ in range(3))
    rho = alpha = omega = torch.ones_like(dot(r, r))
    scale = r.norm(dim=-1, keepdim=True)
    used, left = 0, _ratio(scale, scale, scale > 0)
    for used in range(limit + 1):
        going = left > tolerance
        if used == limit or not bool(going.any()):
            break
        rho, previous = dot(shadow, r), rho
        going = going & (rho != 0) & (previous * omega != 0)
        if not bool(going.any()):
            break
        p = r + _ratio(rho * alpha, previous * omega, going) * (p - omega * v)
        y = prepare(p)
        v = apply(y)
        curvature = dot(shadow, v)
        systems.finite(curvature)
        alpha = _ratio(rho, curvature, going & (curvature != 0))
        s = r - alpha * v
        z = prepare(s)
        t = apply(z)
        size = dot(t, t)
        omega = _ratio(dot(t, s), size, going & (size != 0))
        x, r = x + alpha * y + omega * z, s - omega * t
        left = _ratio(r.norm(dim=-1, keepdim=True), scale, scale > 0)
    ended = tolerance if accept is None else max(accept, tolerance)
    return systems.finish(x, left, used, ended, "precondition it, or take gmres")
