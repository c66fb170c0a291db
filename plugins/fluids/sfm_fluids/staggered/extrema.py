"""Extrema of the velocity on the lines through the middle of a box.

Any consistent system of units.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.staggered.grid import StaggeredGrid


def minimum(x: Float[Tensor, " n"], f: Float[Tensor, "*B n"]) -> Float[Tensor, "*B"]:
    """The least value of f (..., n) given at x (n,): the vertex of the parabola through the least
    entry and its neighbours; differentiable in f. Third order."""
    index = f.detach().argmin(-1, keepdim=True).clamp(1, f.shape[-1] - 2)
    (x0, f0), (x1, f1), (x2, f2) = ((x[index + k], f.gather(-1, index + k)) for k in (-1, 0, 1))
    slope = (f2 - f0) / (x2 - x0)
    bend = ((f2 - f1) / (x2 - x1) - (f1 - f0) / (x1 - x0)) / (x2 - x0)
    tangent = slope + bend * ((x1 - x0) - (x2 - x1))
    inside = bend > 0
    vertex = f1 - tangent.square() / (4 * torch.where(inside, bend, torch.ones_like(bend)))
    return torch.where(inside, vertex, f1).squeeze(-1)


def centreline_extrema(
    u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"], grid: StaggeredGrid
) -> dict[str, Float[Tensor, " ..."]]:
    """centreline_u_min, centreline_v_max, centreline_v_min, each (...)."""
    column, row = _middle(u, -1), _middle(v, -2)
    y, x = grid.y.metrics(u).centres, grid.x.metrics(u).centres
    return {
        "centreline_u_min": minimum(y, column),
        "centreline_v_max": -minimum(x, -row),
        "centreline_v_min": minimum(x, row),
    }


def _middle(field: Tensor, dim: int) -> Tensor:
    """Values on the faces in the middle; the mean of two where a cell is in the middle."""
    n = field.shape[dim]
    return 0.5 * (field.select(dim, n // 2) + field.select(dim, (n - 1) // 2))
