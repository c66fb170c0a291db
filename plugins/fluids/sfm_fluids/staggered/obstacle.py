"""Obstacles: how much of each velocity's volume is solid. Any consistent system of units."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.staggered import axis as along
from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.grid import StaggeredGrid

SHAPES = ("none", "cylinder", "square")


def inside(
    shape: str, x: float, y: float, size: float, period: float | None = None
) -> Callable[[Float[Tensor, " ..."], Float[Tensor, " ..."]], Bool[Tensor, " ..."]]:
    """Whether points are in a shape of a diameter (or side) `size` around (x, y).

    With a `period` along x the shape repeats, so that one across the ends of the box is whole.
    """

    def along(a: Tensor) -> Tensor:
        return a - x if period is None else (a - x + period / 2) % period - period / 2

    if shape == "cylinder":
        return lambda a, b: along(a).square() + (b - y).square() <= (size / 2) ** 2
    return lambda a, b: torch.maximum(along(a).abs(), (b - y).abs()) <= size / 2


def from_shape(
    solid: Callable[[Float[Tensor, " ..."], Float[Tensor, " ..."]], Bool[Tensor, " ..."]],
    grid: StaggeredGrid,
    samples: int = 16,
) -> tuple[Float[Tensor, "H Nx"], Float[Tensor, "Ny W"]]:
    """1 on u's faces (H, N_x) and v's (N_y, W) whose volume is solid by half or more, else 0.

    Volumes are sampled at samples^2 points.
    """
    xf, yf = _points(grid.x, True, samples), _points(grid.y, True, samples)
    xc, yc = _points(grid.x, False, samples), _points(grid.y, False, samples)
    chi = []
    for x, y in ((xf, yc), (xc, yf)):
        part = solid(x.reshape(1, -1), y.reshape(-1, 1)).double()
        part = part.unflatten(-1, x.shape).unflatten(0, y.shape).mean((1, 3))
        chi.append((part >= 0.5).double())
    return chi[0], chi[1]


def _points(axis: Axis, on_faces: bool, samples: int) -> Tensor:
    """Sample points (n, samples) in each face's or cell's volume."""
    m = axis.metrics()
    s = (torch.arange(samples, dtype=torch.float64) + 0.5) / samples
    if not on_faces:
        return m.centres[:, None] + m.widths[:, None] * (s - 0.5)
    if axis.periodic:
        points = m.faces[:, None] + m.widths[:, None] * (s - 0.5)
        return axis.origin + (points - axis.origin) % axis.length
    low = torch.cat((m.faces[:1], m.centres))
    return low[:, None] + m.distances[:, None] * s


def from_cells(
    solid: Float[Tensor, " ..."] | nn.Module,
    grid: StaggeredGrid,
    like: Float[Tensor, " ..."],
    name: str,
) -> tuple[Float[Tensor, "*B H Nx"], Float[Tensor, "*B Ny W"]]:
    """Solid fraction on the faces, by means, of one in the cells (..., H, W) between 0 and 1.

    A module is called with the centres (x, y), each (H, W). Differentiable.

    Raises:
        InputError: another shape, or values outside [0, 1].
    """
    cells = solid(*grid.centres(like)) if isinstance(solid, nn.Module) else solid
    if tuple(cells.shape[-2:]) != grid.shape:
        raise InputError(f"{name}: obstacle has shape {tuple(cells.shape)}, the cells {grid.shape}")
    if not bool(((cells >= 0) & (cells <= 1)).all()):
        raise InputError(f"{name}: obstacle holds solid fractions, between 0 and 1")
    return along.face_mean(grid.x, cells, -1), along.face_mean(grid.y, cells, -2)
