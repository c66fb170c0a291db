"""Darcy flow on the points that the operator-learning benchmark stores.

    -div(a grad p) = 1,    p = 0 on the edge,    points x = i h, i = 0 ... W - 1, box W h

The first row and column lie on the edge, the last ones one spacing from it (`datasets/
darcy-neuraloperator`). Two-point fluxes between neighbouring points, with the harmonic mean of
their permeabilities; the point past the last takes the last one's. An `a` of its own along x and y
lets a model put right what the points do not say of the medium between them.

Source: R. Eymard, T. Gallouet and R. Herbin, Finite Volume Methods, in Handbook of Numerical
Analysis VII (2000), the two-point flux approximation.

Any consistent system of units, with a source of 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.simulate.fixed_point import implicit
from sfm_fluids.darcy.medium import Axis, Conductances, apply
from sfm_fluids.darcy.solve import against

EDGES = ("dirichlet", "dirichlet")


def pressure(
    along_x: Float[Tensor, "*batch H W"],
    along_y: Float[Tensor, "*batch H W"],
    spacing: float,
    *,
    order: int = 1,
    tolerance: float = 1e-9,
) -> Float[Tensor, "*batch H W"]:
    """The pressure at the points, 0 in the first row and column; differentiable in both a.

    Args:
        along_x: permeability of each point to flow along x (the last axis), positive.
        along_y: the same along y.
        spacing: h, of both axes.
        order: highest derivative that will be asked for.
        tolerance: of the solve, relative.

    Raises:
        RunError: the solve does not converge.
    """
    height, width = along_x.shape[-2:]
    x, y = Axis(width - 1, spacing, *EDGES), Axis(height - 1, spacing, *EDGES)
    c = Conductances(
        _between(along_x[..., 1:, :].double()) / spacing**2,
        _between(along_y[..., 1:].double().mT).mT / spacing**2,
    )
    b = torch.ones_like(c.x[..., 1:])
    solve = against(c, x, y, where="Darcy flow on points", tolerance=tolerance)
    p = implicit(
        solve(b), lambda p: apply(p, c, x, y) - b, solve=solve, symmetric=True, order=order
    )
    return torch.nn.functional.pad(p, (1, 0, 1, 0)).to(along_x.dtype)


def _between(a: Tensor) -> Tensor:
    """(..., W) -> (..., W) of the faces right of each point."""
    right = torch.cat((a[..., 1:], a[..., -1:]), -1)
    return 2 * a * right / (a + right)
