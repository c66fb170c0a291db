"""Derivatives by the nuclei with the density matrix held fixed: what the response starts from.

Of L = E(R; D) - tr(W S(R)) (`curvature`), U = 3 A displacements, x, y, z of the first atom
first. Terms come by autograd here, from the grid in `grid_terms`, from libcint in `fitted_terms`.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.progress import report
from sfm_dft.hessian.occupied import Occupied

Function = Callable[
    [Float[Tensor, "A 3"], Float[Tensor, "s n n"], Float[Tensor, "n n"]], Float[Tensor, ""]
]


@dataclass(frozen=True)
class Skeleton:
    """second: (U, U) hartree per bohr^2. focks: derivative of F, C^T F_u C_o (U, n, o) of each
    spin. overlap: (U, n, n) derivative of S, or None where a term has none."""

    second: Tensor
    focks: list[Tensor]
    overlap: Tensor | None = None

    def __add__(self, other: Skeleton) -> Skeleton:
        focks = [a + b for a, b in zip(self.focks, other.focks, strict=True)]
        overlap = self.overlap if other.overlap is None else other.overlap
        return Skeleton(self.second + other.second, focks, overlap)


def by_autograd(
    function: Function,
    r: Float[Tensor, "A 3"],
    d: Float[Tensor, "s n n"],
    w: Float[Tensor, "n n"],
    occupied: Occupied,
    work: str,
) -> Skeleton:
    """Of any term: a function of positions (A, 3), density matrix (s, n, n) and W (n, n)."""
    with torch.enable_grad():
        r, d, w = (x.detach().clone().requires_grad_() for x in (r, d, w))
        (slope,) = torch.autograd.grad(function(r, d, w), r, create_graph=True)
        slopes = slope.flatten().unbind()
    rows, focks, overlaps = [], [], []
    for k, one in enumerate(slopes):
        report(work, k, len(slopes))
        by_r, by_d, by_w = torch.autograd.grad(
            one, [r, d, w], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        rows.append(by_r.flatten())
        focks.append(0.5 * (by_d + by_d.mT) / occupied.share)
        overlaps.append(-0.5 * (by_w + by_w.mT))
    return Skeleton(torch.stack(rows), occupied.between(torch.stack(focks)), torch.stack(overlaps))
