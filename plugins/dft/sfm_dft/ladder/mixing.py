"""Self-consistency of the density by Anderson's (Pulay's) mixing, a batch at a time, no graph.

Of the last densities n_j and residuals r_j = F(n_j) - n_j, the combination with sum c_j = 1 and the
smallest |sum c_j r_j| gives the next one: sum c_j (n_j + b r_j), b = 1/2.

References: Anderson, J. ACM 12, 547 (1965); Pulay, Chem. Phys. Lett. 73, 393 (1980).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.ladder.problem import Problem

HISTORY = 6
STEP = 0.5


@dataclass(frozen=True)
class Field:
    """How far the self-consistent field of B molecules has come.

    Attributes:
        density: (B, n) input of the next cycle; the self-consistent one where `converged`.
        densities, residuals: (B, 6, n) what is remembered, newest last.
        cycle: (B,) Kohn-Sham problems solved. residual: (B,) integral of |n_out - n_in|.
        converged: (B,) bool.
    """

    density: Tensor
    densities: Tensor
    residuals: Tensor
    cycle: Tensor
    residual: Tensor
    converged: Tensor


def begin(density: Float[Tensor, "*B n"]) -> Field:
    """Before the first cycle, from a density (..., n)."""
    rows = density.shape[:-1]
    past = density.new_zeros(*rows, HISTORY, density.shape[-1])
    return Field(
        density=density,
        densities=past,
        residuals=past.clone(),
        cycle=torch.zeros(rows, dtype=torch.int64),
        residual=density.new_ones(rows),
        converged=torch.zeros(rows, dtype=torch.bool),
    )


@torch.no_grad()
def iterate(problem: Problem, field: Field, cycles: int, *, tolerance: float, most: int) -> Field:
    """At most `cycles` more for every molecule that is not converged and has had fewer than `most`.

    A molecule that has converged is tested once more, since the potential may have changed.
    """
    repulsion = problem.repulsion()
    for number in range(cycles):
        open_ = field.cycle < most
        active = (open_ & ~field.converged) | (field.converged & (number == 0))
        if not bool(active.any()):
            break
        field = _cycle(problem, field, repulsion, active, tolerance)
    return field


def _cycle(
    problem: Problem, field: Field, repulsion: Tensor, active: Tensor, tolerance: float
) -> Field:
    n = field.density.detach()
    out = problem.orbitals(problem.potential(n, repulsion)).density
    residual = (out - n).abs().sum(-1) * problem.dx
    done = residual < tolerance
    retest = field.converged & done
    densities = torch.cat([field.densities[:, 1:], n[:, None]], dim=1)
    residuals = torch.cat([field.residuals[:, 1:], (out - n)[:, None]], dim=1)
    following = torch.where(done[:, None], n, _mix(densities, residuals, problem, out))
    update = active & ~retest

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        mask = update.reshape(-1, *(1 for _ in range(new.dim() - 1)))
        return torch.where(mask, new, old)

    return replace(
        field,
        density=chosen(following, n),
        densities=chosen(densities, field.densities),
        residuals=chosen(residuals, field.residuals),
        cycle=chosen(field.cycle + 1, field.cycle),
        residual=chosen(residual, field.residual),
        converged=chosen(done, field.converged),
    )


def _mix(densities: Tensor, residuals: Tensor, problem: Problem, out: Tensor) -> Tensor:
    """(B, n) the next input density; slots that were never filled get no weight."""
    filled = (residuals.abs().sum(-1) > 0) | (densities.abs().sum(-1) > 0)
    rows, size = filled.shape
    gram = residuals @ residuals.mT
    largest = gram.diagonal(dim1=1, dim2=2).amax(1).clamp_min(1e-300)
    matrix = gram.new_zeros(rows, size + 1, size + 1)
    matrix[:, :size, :size] = gram / largest[:, None, None]
    empty = (~filled).to(gram.dtype)
    matrix[:, :size, :size] += torch.diag_embed(empty)
    matrix[:, size, :size] = matrix[:, :size, size] = filled.to(gram.dtype)
    right = gram.new_zeros(rows, size + 1, 1)
    right[:, size] = 1.0
    weights = torch.linalg.lstsq(matrix, right, driver="gelsd", rcond=1e-14).solution[:, :size, 0]
    mixed = torch.einsum("bj,bjn->bn", weights, densities + STEP * residuals).clamp_min(0.0)
    electrons = problem.molecules.electrons.to(mixed.dtype)
    total = mixed.sum(-1) * problem.dx
    usable = torch.isfinite(total) & (total > 0)
    mixed = mixed * (electrons / torch.where(usable, total, torch.ones_like(total)))[:, None]
    return torch.where(usable[:, None], mixed, out)
