"""Values of the advected velocity on the sides of the momentum's volumes, in a periodic box.

The flux of u along x crosses the cells' centres, the flux of u along y and of v along x the
corners, the flux of v along y the centres again:

    div(u u) at u's faces = d/dx (U u_centre) + d/dy (V u_corner)
    div(u v) at v's faces = d/dx (U v_corner) + d/dy (V v_centre)

The advecting U and V are the means of neighbours, or such means of a filtered flow, so that mass
and momentum are conserved whatever supplies the four advected values: central means, a limited
upwind value, or a network (learned interpolation; D. Kochkov et al., PNAS 118, e2101784118 (2021)).

Offsets in cells (x, y) from a cell's low corner: u at (0, 1/2), v at (1/2, 0), centres (1/2, 1/2),
corners (0, 0). All arrays are (..., H, W); entry (j, i) belongs to cell (j, i).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FaceValues(NamedTuple):
    """Advected velocities, each (..., H, W)."""

    u_centre: Tensor  # u at (1/2, 1/2), between faces i and i + 1
    u_corner: Tensor  # u at (0, 0), between rows j - 1 and j
    v_corner: Tensor  # v at (0, 0), between columns i - 1 and i
    v_centre: Tensor  # v at (1/2, 1/2), between faces j and j + 1


class Linear(nn.Module):
    """Means of the two neighbours: second order, conserves energy; wiggles where under-resolved."""

    def forward(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> FaceValues:
        """u (..., H, W) on x-faces, v (..., H, W) on y-faces, spacing (dy, dx)."""
        return FaceValues(
            0.5 * (u + u.roll(-1, -1)),
            0.5 * (u + u.roll(1, -2)),
            0.5 * (v + v.roll(1, -1)),
            0.5 * (v + v.roll(-1, -2)),
        )

    def both(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> tuple[FaceValues, FaceValues]:
        """The advecting and the advected values, here the same, (..., H, W) each."""
        means: FaceValues = self(u, v, spacing)
        return means, means


class VanLeer(nn.Module):
    """Upwind values with van Leer's limiter: second order where smooth, no new extrema.

    With `dt` > 0 the Lax-Wendroff correction (1 - Courant number), which forward Euler steps need;
    with `dt` = 0 for Runge-Kutta steps. B. van Leer, J. Comput. Phys. 14, 361 (1974).
    """

    def __init__(self, dt: float = 0.0) -> None:
        super().__init__()
        self.dt = dt

    def forward(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> FaceValues:
        """u (..., H, W) on x-faces, v (..., H, W) on y-faces, spacing (dy, dx)."""
        dy, dx = spacing
        mean = advecting(u, v)
        return FaceValues(
            self._upwind(u, mean.u_centre, -1, dx),
            self._upwind(u.roll(1, -2), mean.v_corner, -2, dy),
            self._upwind(v.roll(1, -1), mean.u_corner, -1, dx),
            self._upwind(v, mean.v_centre, -2, dy),
        )

    def _upwind(self, c: Tensor, speed: Tensor, dim: int, spacing: float) -> Tensor:
        """c between entries k and k + 1 along `dim`, carried with `speed` there."""
        ahead = c.roll(-1, dim)
        here = ahead - c
        behind, beyond = here.roll(1, dim), here.roll(-1, dim)
        reach = 0.5
        half = reach * (1 - speed.abs() * (self.dt / spacing)) if self.dt else reach
        return torch.where(
            speed > 0, c + half * _limited(behind, here), ahead - half * _limited(here, beyond)
        )


def _limited(a: Tensor, b: Tensor) -> Tensor:
    """Harmonic mean of two slopes, 0 where their signs differ."""
    product = a * b
    same = product > 0
    total = torch.where(same, a + b, torch.ones_like(a))
    return torch.where(same, 2 * product / total, torch.zeros_like(a))


def advecting(u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"]) -> FaceValues:
    """Mean velocities through the volumes' sides: U at u_centre and u_corner, V at the v_ ones.

    All (..., H, W).
    """
    means: FaceValues = Linear()(u, v, (1.0, 1.0))
    return means


def advection(
    u: Float[Tensor, "*B H W"],
    v: Float[Tensor, "*B H W"],
    spacing: tuple[float, float],
    interpolation: nn.Module,
) -> tuple[Float[Tensor, "*B H W"], Float[Tensor, "*B H W"]]:
    """div(u u) at u's faces and div(u v) at v's, (..., H, W) each.

    An interpolation that has a method `both` says the advecting velocities, too.
    """
    dy, dx = spacing
    both = getattr(interpolation, "both", None)
    if both is None:
        mean, carried = advecting(u, v), interpolation(u, v, spacing)
    else:
        mean, carried = both(u, v, spacing)
    uu, vv = mean.u_centre * carried.u_centre, mean.v_centre * carried.v_centre
    uv, vu = mean.v_corner * carried.u_corner, mean.u_corner * carried.v_corner
    return (
        (uu - uu.roll(1, -1)) / dx + (uv.roll(-1, -2) - uv) / dy,
        (vu.roll(-1, -1) - vu) / dx + (vv - vv.roll(1, -2)) / dy,
    )


def push(
    p: Float[Tensor, "*B H W"], q: Float[Tensor, "*B H W"], spacing: tuple[float, float]
) -> tuple[Float[Tensor, "*B H W"], Float[Tensor, "*B H W"]]:
    """-div of the stress ((p, q), (q, -p)) on u's and on v's faces, an acceleration.

    p at centres, q at corners; spacing (dy, dx). The sum over the box is zero.
    """
    dy, dx = spacing
    return (
        (p.roll(1, -1) - p) / dx + (q - q.roll(-1, -2)) / dy,
        (q - q.roll(-1, -1)) / dx + (p - p.roll(1, -2)) / dy,
    )
