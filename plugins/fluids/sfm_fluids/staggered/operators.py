"""Finite-volume operators of second order on a staggered grid.

Central advection is in divergence form with the mass fluxes of the cells and plain means of the
velocity: it is then skew-symmetric, so that it conserves momentum and energy exactly, on
stretched grids also. R. W. C. P. Verstappen and A. E. P. Veldman, J. Comput. Phys. 187, 343 (2003).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.staggered import axis as along
from sfm_fluids.staggered.grid import Sides, StaggeredGrid


def divergence(
    u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"], grid: StaggeredGrid
) -> Float[Tensor, "*B H W"]:
    """du/dx + dv/dy in the cells, (..., H, W)."""
    return along.cell_difference(grid.x, u, -1) + along.cell_difference(grid.y, v, -2)


def gradient(
    p: Float[Tensor, "*B H W"], grid: StaggeredGrid
) -> tuple[Float[Tensor, "*B H Nx"], Float[Tensor, "*B Ny W"]]:
    """dp/dx at u's faces (..., H, N_x), dp/dy at v's (..., N_y, W).

    Zero where the velocity is given; p = 0 at open ends.
    """
    zero = p.new_zeros(())
    x_end = zero.expand(p[..., :1].shape) if grid.x.kind == "open" else None
    y_end = zero.expand(p[..., :1, :].shape) if grid.y.kind == "open" else None
    return (
        along.face_difference(grid.x, p, -1, None, x_end),
        along.face_difference(grid.y, p, -2, None, y_end),
    )


def diffusion(
    u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"], grid: StaggeredGrid, sides: Sides
) -> tuple[Float[Tensor, "... H Nx"], Float[Tensor, "... Ny W"]]:
    """Laplacian of u (..., H, N_x) and v (..., N_y, W) at unknown faces, zero at given ones."""
    free_u, free_v = grid.free(u)
    u_along = along.flux_difference(grid.x, along.cell_difference(grid.x, u, -1), -1)
    u_slope = along.face_difference(grid.y, u, -2, sides.u_low, sides.u_high)
    v_along = along.flux_difference(grid.y, along.cell_difference(grid.y, v, -2), -2)
    v_slope = along.face_difference(grid.x, v, -1, sides.v_low, sides.v_high)
    return (
        u_along + free_u * along.cell_difference(grid.y, u_slope, -2),
        v_along + free_v * along.cell_difference(grid.x, v_slope, -1),
    )


def advection(
    u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"], grid: StaggeredGrid, sides: Sides
) -> tuple[Float[Tensor, "... H Nx"], Float[Tensor, "... Ny W"]]:
    """div(u u) (..., H, N_x) and div(u v) (..., N_y, W), zero at given faces; conserves energy."""
    free_u, free_v = grid.free(u)
    centre_u, centre_v = along.cell_mean(grid.x, u, -1), along.cell_mean(grid.y, v, -2)
    corner_u = along.face_mean(grid.y, u, -2, sides.u_low, sides.u_high)
    corner_v = along.face_mean(grid.x, v, -1, sides.v_low, sides.v_high)
    # mass fluxes through the sides of v's and of u's volumes
    through_x = along.face_flux_mean(grid.y, u, -2)
    through_y = along.face_flux_mean(grid.x, v, -1)
    out_u = u[..., -1:].square() if grid.x.kind == "open" else None
    out_v = v[..., -1:, :].square() if grid.y.kind == "open" else None
    return (
        along.flux_difference(grid.x, centre_u.square(), -1, out_u)
        + free_u * along.cell_difference(grid.y, through_y * corner_u, -2),
        along.flux_difference(grid.y, centre_v.square(), -2, out_v)
        + free_v * along.cell_difference(grid.x, through_x * corner_v, -1),
    )


def curl_of_stream_function(
    psi: Float[Tensor, "*B Ny Nx"], grid: StaggeredGrid
) -> tuple[Float[Tensor, "*B H Nx"], Float[Tensor, "*B Ny W"]]:
    """u = d psi / dy, v = -d psi / dx from psi at the corners (..., N_y, N_x).

    Free of divergence to rounding.
    """
    return along.cell_difference(grid.y, psi, -2), -along.cell_difference(grid.x, psi, -1)


def circulation(
    u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"], grid: StaggeredGrid
) -> Float[Tensor, "*B Ny Nx"]:
    """Line integral of (u, v) around each corner, (..., N_y, N_x): transpose of the above.

    sum(psi * circulation(u, v)) = sum over volumes of (u, v) . curl(psi). It is zero for gradients.
    """
    dx, dy = grid.x.spacing(u, -1).distances, grid.y.spacing(u, -2).distances
    return _jump(v * dy, -1, grid.x.periodic) - _jump(u * dx, -2, grid.y.periodic)


def _jump(cells: Tensor, dim: int, periodic: bool) -> Tensor:
    """Cell i minus cell i - 1, nothing beyond the ends."""
    if periodic:
        return cells - cells.roll(1, dim)
    zero = torch.zeros_like(cells.narrow(dim, 0, 1))
    return torch.cat((zero, cells, zero), dim).diff(dim=dim)
