"""A staggered grid in the plane, and the velocities that its sides impose.

Arrays are images: the last axis (W) is x, the one before (H) is y. With N_x = W faces along x where
x is periodic and W + 1 elsewhere, and N_y likewise,

    u (..., H, N_x)        along x, on x-faces: at (face i of x, centre j of y)
    v (..., N_y, W)        along y, on y-faces: at (centre i of x, face j of y)
    pressure (..., H, W)   at centres
    vorticity, stream function (..., N_y, N_x)   at corners: (face i of x, face j of y)

by definition. Velocities that are given (at walls and inflow) are part of u and v: they are its
first and last columns or rows.

Any consistent system of units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.staggered import axis as along
from sfm_fluids.staggered.axis import Axis


class Sides(NamedTuple):
    """Velocities tangential to the sides, shaped to broadcast with u and v; None: zero gradient.

    Of periodic axes they are ignored.
    """

    u_low: Tensor | None = None  # u at the low end of y, (..., 1, N_x)
    u_high: Tensor | None = None
    v_low: Tensor | None = None  # v at the low end of x, (..., N_y, 1)
    v_high: Tensor | None = None


@dataclass(frozen=True)
class StaggeredGrid:
    """Two axes."""

    x: Axis
    y: Axis

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W), of the cells."""
        return self.y.cells, self.x.cells

    @property
    def u_shape(self) -> tuple[int, int]:
        return self.y.cells, self.x.n_faces

    @property
    def v_shape(self) -> tuple[int, int]:
        return self.y.n_faces, self.x.cells

    @property
    def length_x(self) -> float:
        return self.x.length

    @property
    def length_y(self) -> float:
        return self.y.length

    def u_points(
        self, like: Float[Tensor, " ..."] | None = None
    ) -> tuple[Float[Tensor, "H Nx"], Float[Tensor, "H Nx"]]:
        """(x, y) where u is."""
        return _mesh(self.x.metrics(like).faces, self.y.metrics(like).centres)

    def v_points(
        self, like: Float[Tensor, " ..."] | None = None
    ) -> tuple[Float[Tensor, "Ny W"], Float[Tensor, "Ny W"]]:
        """(x, y) where v is."""
        return _mesh(self.x.metrics(like).centres, self.y.metrics(like).faces)

    def centres(
        self, like: Float[Tensor, " ..."] | None = None
    ) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H W"]]:
        """(x, y) of the cells."""
        return _mesh(self.x.metrics(like).centres, self.y.metrics(like).centres)

    def corners(
        self, like: Float[Tensor, " ..."] | None = None
    ) -> tuple[Float[Tensor, "Ny Nx"], Float[Tensor, "Ny Nx"]]:
        """(x, y) of the corners."""
        return _mesh(self.x.metrics(like).faces, self.y.metrics(like).faces)

    def volumes(
        self, like: Float[Tensor, " ..."]
    ) -> tuple[Float[Tensor, "H W"], Float[Tensor, "H Nx"], Float[Tensor, "Ny W"]]:
        """Of the cells (H, W), of u's volumes and of v's, half ones at the ends."""
        mx, my = self.x.metrics(like), self.y.metrics(like)
        return (
            my.widths[:, None] * mx.widths,
            my.widths[:, None] * mx.distances,
            my.distances[:, None] * mx.widths,
        )

    def free(
        self, like: Float[Tensor, " ..."]
    ) -> tuple[Float[Tensor, " Nx"], Float[Tensor, "Ny 1"]]:
        """1 where u (N_x,) and v (N_y, 1) are unknown, 0 where they are given."""
        return self.x.metrics(like).free, self.y.metrics(like).free[:, None]

    def check(self, u: Float[Tensor, " ..."], v: Float[Tensor, " ..."]) -> None:
        """Raises `InputError` unless u (..., H, N_x) and v (..., N_y, W) live on this grid."""
        if tuple(u.shape[-2:]) != self.u_shape or tuple(v.shape[-2:]) != self.v_shape:
            raise InputError(
                f"u {tuple(u.shape)} and v {tuple(v.shape)} do not live on this grid: "
                f"it needs u (..., {self.u_shape[0]}, {self.u_shape[1]}) "
                f"and v (..., {self.v_shape[0]}, {self.v_shape[1]})"
            )


def _mesh(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return xx, yy


def at_centres(
    u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"], grid: StaggeredGrid
) -> Float[Tensor, "*B 2 H W"]:
    """Velocity at the cells' centres, (..., 2, H, W), by means; second order."""
    return torch.stack((along.cell_mean(grid.x, u, -1), along.cell_mean(grid.y, v, -2)), dim=-3)


def at_corners(
    u: Float[Tensor, "*#B H Nx"],
    v: Float[Tensor, "*#B Ny W"],
    grid: StaggeredGrid,
    sides: Sides | None = None,
) -> Float[Tensor, "... 2 Ny Nx"]:
    """Velocity at the corners, (..., 2, N_y, N_x), by means and the sides' values."""
    sides = sides or Sides()
    return torch.stack(
        (
            along.face_mean(grid.y, u, -2, sides.u_low, sides.u_high),
            along.face_mean(grid.x, v, -1, sides.v_low, sides.v_high),
        ),
        dim=-3,
    )


def vorticity(
    u: Float[Tensor, "*#B H Nx"],
    v: Float[Tensor, "*#B Ny W"],
    grid: StaggeredGrid,
    sides: Sides | None = None,
) -> Float[Tensor, "... Ny Nx"]:
    """dv/dx - du/dy at the corners, (..., N_y, N_x)."""
    sides = sides or Sides()
    return along.face_difference(grid.x, v, -1, sides.v_low, sides.v_high) - along.face_difference(
        grid.y, u, -2, sides.u_low, sides.u_high
    )


def stream_function(u: Float[Tensor, "*B H Nx"], grid: StaggeredGrid) -> Float[Tensor, "*B Ny Nx"]:
    """psi with u = d psi / dy by definition, at the corners (..., N_y, N_x).

    Zero on the low side of y.
    """
    flux = (u * grid.y.spacing(u, -2).widths).cumsum(-2)
    psi = torch.cat((torch.zeros_like(flux[..., :1, :]), flux), -2)
    return psi[..., :-1, :] if grid.y.periodic else psi


def kinetic_energy(
    u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"], grid: StaggeredGrid
) -> Float[Tensor, "*B"]:
    """Mean of |u|^2 / 2 over the box, summed over u's and v's own volumes; (...)."""
    _, vol_u, vol_v = grid.volumes(u)
    total = (vol_u * u.square()).sum((-2, -1)) + (vol_v * v.square()).sum((-2, -1))
    return 0.5 * total / (grid.length_x * grid.length_y)
