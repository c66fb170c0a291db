"""Implicit Runge-Kutta steps for stiff and for non-separable Hamiltonian systems.

    z_i = h sum_j a_ij f(x + z_j),    x(t + h) = x(t) + sum_i d_i z_i,    d = b A^-1

Gauss methods (midpoint, gauss4) are symplectic; Radau IIA (order 5) is L-stable. The stages are
found by Newton's method without recording. One further Newton step with a constant Jacobian is
recorded: its derivative is that of the exact solution (implicit function theorem). Step sizes of
`radau_until` follow the embedded error estimate and carry no gradient.

E. Hairer, G. Wanner, Solving Ordinary Differential Equations II (1996), IV.8,
doi:10.1007/978-3-642-05221-7.

States, rates and times in the system's own units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import RunError

Field = Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]]
_S6, _S3 = math.sqrt(6.0), math.sqrt(3.0)
NEWTON_STEPS = 12


@dataclass(frozen=True)
class Implicit:
    """Coefficients of a fully implicit method: `a` (s, s), weights `b` (s,), `order`."""

    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    @property
    def d(self) -> tuple[float, ...]:
        """(s,) weights of the stage increments z."""
        return tuple(np.linalg.solve(np.array(self.a).T, np.array(self.b)).tolist())


MIDPOINT = Implicit(2, ((0.5,),), (1.0,))
GAUSS4 = Implicit(4, ((0.25, 0.25 - _S3 / 6), (0.25 + _S3 / 6, 0.25)), (0.5, 0.5))
RADAU5 = Implicit(
    5,
    (
        ((88 - 7 * _S6) / 360, (296 - 169 * _S6) / 1800, (-2 + 3 * _S6) / 225),
        ((296 + 169 * _S6) / 1800, (88 + 7 * _S6) / 360, (-2 - 3 * _S6) / 225),
        ((16 - _S6) / 36, (16 + _S6) / 36, 1 / 9),
    ),
    ((16 - _S6) / 36, (16 + _S6) / 36, 1 / 9),
)
METHODS = {"implicit-midpoint": MIDPOINT, "gauss4": GAUSS4, "radau5": RADAU5}
# embedded error estimate of Radau IIA 5: real eigenvalue of A^-1, and weights of the stages
_REAL = 3 + 3 ** (2 / 3) - 3 ** (1 / 3)
_ERROR = ((-13 - 7 * _S6) / 3, (-13 + 7 * _S6) / 3, -1 / 3)


def step(
    table: Implicit, field: Field, x: Float[Tensor, "*states d"], h: float
) -> Float[Tensor, "*states d"]:
    """The state (..., d) after a step `h`.

    Raises:
        RunError: Newton's method does not converge; a smaller step may.
    """
    flat = x.reshape(-1, x.shape[-1])
    recording = torch.is_grad_enabled()
    with torch.no_grad():
        stages, inverse, converged = _stages(table, field, flat, h, exact=recording)
        if not converged:
            stages, inverse, converged = _stages(table, field, flat, h, exact=True, renewed=True)
    if not converged:
        raise RunError(f"an implicit step of {h:.3g} does not converge; use a smaller dt")
    return _recorded(table, field, flat, h, stages, inverse).reshape(x.shape)


def radau_until(
    field: Field, x: Float[Tensor, "*states d"], span: float, *, rtol: float, atol: float
) -> Float[Tensor, "*states d"]:
    """The state (..., d) after `span`, in adaptive steps that all rows share.

    Raises:
        RunError: steps become too small to reach the end.
    """
    flat, done = x.reshape(-1, x.shape[-1]), 0.0
    h, recording = 1e-3 * span, torch.is_grad_enabled()
    while done < span:
        h = min(h, span - done)
        with torch.no_grad():
            stages, inverse, converged = _stages(RADAU5, field, flat, h, exact=recording)
            size = _error(field, flat, stages, h, rtol, atol) if converged else math.inf
        if not size <= 1:
            h *= 0.25 if not math.isfinite(size) else max(0.2, 0.9 * size ** (-0.25))
            if h < 1e-14 * span or h == 0.0:
                raise RunError(
                    f"Radau steps became smaller than {h:.1e} of {span:.3g}: the solution is not "
                    "smooth there, or rtol and atol are too small"
                )
            continue
        flat = _recorded(RADAU5, field, flat, h, stages, inverse)
        done = span if span - done - h <= 1e-12 * span else done + h
        h *= min(5.0, 0.9 * max(size, 1e-10) ** (-0.25))
    return flat.reshape(x.shape)


def _tensors(table: Implicit, x: Tensor) -> tuple[Tensor, Tensor]:
    a = torch.tensor(table.a, dtype=x.dtype, device=x.device)
    return a, torch.tensor(table.d, dtype=x.dtype, device=x.device)


def _jacobian(field: Field, x: Tensor) -> Tensor:
    """(n, d, d) of `field` at each row of x (n, d); rows do not depend on one another."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        value = field(at)
        if not value.requires_grad:
            return x.new_zeros(*x.shape, x.shape[-1])
        columns = [
            torch.autograd.grad(value[:, i].sum(), at, retain_graph=True, allow_unused=True)[0]
            for i in range(x.shape[-1])
        ]
    return torch.stack([torch.zeros_like(x) if c is None else c for c in columns], 1).detach()


def _residual(a: Tensor, field: Field, x: Tensor, z: Tensor, h: float) -> Tensor:
    """(n, s, d): z - h A f(x + z)."""
    n, s, d = z.shape
    rates = field((x.unsqueeze(1) + z).reshape(n * s, d)).reshape(n, s, d)
    return z - h * torch.einsum("ij,njd->nid", a, rates)


def _stages(
    table: Implicit, field: Field, x: Tensor, h: float, *, exact: bool, renewed: bool = False
) -> tuple[Tensor, Tensor, bool]:
    """Stages z (n, s, d), the inverse Newton matrix, and whether it converged.

    Args:
        table, field, x, h: the step.
        exact: the matrix returned is that at the solution, which derivatives need.
        renewed: make the matrix at every iteration, not only at the start.
    """
    a, _ = _tensors(table, x)
    n, d = x.shape
    s = len(table.b)
    eye = torch.eye(s * d, dtype=x.dtype, device=x.device)

    def inverse(at: Tensor) -> Tensor:
        jacobian = _jacobian(field, (x.unsqueeze(1) + at).reshape(-1, d)).reshape(n, -1, d, d)
        jacobian = jacobian.expand(n, s, d, d)
        coupled = torch.einsum("ij,njkl->nikjl", a, jacobian).reshape(n, s * d, s * d)
        solved: Tensor = torch.linalg.inv(eye - h * coupled)
        return solved

    z = x.new_zeros(n, s, d)
    matrix = inverse(z[:, :1])
    scale = x.abs().amax(-1).clamp_min(1e-300)[:, None, None]
    tight, before, converged = 50 * torch.finfo(x.dtype).eps, math.inf, False
    for _ in range(NEWTON_STEPS):
        change = torch.einsum("nij,nj->ni", matrix, _residual(a, field, x, z, h).flatten(1))
        z = z - change.reshape(z.shape)
        size = float((change.reshape(z.shape).abs() / scale).max())
        if not math.isfinite(size) or size > 1e3 * max(before, 1e-300):
            return z, matrix, False
        converged = size < tight or (size < 1e-11 and size > 0.5 * before)
        if converged:
            break
        matrix, before = inverse(z) if renewed else matrix, size
    return z, inverse(z) if exact and converged else matrix, converged or before < 1e-10


def _recorded(
    table: Implicit, field: Field, x: Tensor, h: float, stages: Tensor, inverse: Tensor
) -> Tensor:
    """The end of the step, with the derivatives of the exact solution."""
    a, d = _tensors(table, x)
    residual = _residual(a, field, x, stages, h).flatten(1)
    z = stages - torch.einsum("nij,nj->ni", inverse, residual).reshape(stages.shape)
    return x + torch.einsum("s,nsd->nd", d, z)


def _error(field: Field, x: Tensor, z: Tensor, h: float, rtol: float, atol: float) -> float:
    """Largest scaled error of the rows; the step is good if it is at most 1."""
    weights = torch.tensor(_ERROR, dtype=x.dtype, device=x.device)
    eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    raw = field(x) + torch.einsum("s,nsd->nd", weights, z) / h
    error = torch.linalg.solve(_REAL / h * eye - _jacobian(field, x), raw)
    scale = atol + rtol * torch.maximum(x.abs(), (x + z[:, -1]).abs())
    size = float((error / scale).square().mean(-1).sqrt().max())
    return size if math.isfinite(size) else math.inf
