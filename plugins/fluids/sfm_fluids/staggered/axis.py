"""One axis of a staggered grid: where its faces are, and differences and means along it.

An axis has N cells. Values live in the cells' centres (N of them) or on faces. Face i is the low
side of cell i, so a periodic axis has N faces and another one has N + 1, both ends included.
F. H. Harlow and J. E. Welch, Phys. Fluids 8, 2182 (1965).

Any consistent system of units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError

KINDS = ("periodic", "walls", "open")


class Metrics(NamedTuple):
    """Lengths along an axis of N cells; M = N faces if it is periodic, else N + 1."""

    faces: Tensor  # (M,) positions
    centres: Tensor  # (N,) positions, midway between faces
    widths: Tensor  # (N,) of cells
    distances: Tensor  # (M,) between neighbouring centres; half a cell at the ends
    free: Tensor  # (M,) 1 where the velocity normal to the face is an unknown, else 0


@dataclass(frozen=True)
class Axis:
    """N cells along a length.

    Args:
        cells: N, at least 4.
        length: of the axis.
        kind: what is at the ends: "periodic"; "walls" (the velocity is given at both ends, of any
            value: walls at rest, a moving lid, exact boundary values); "open" (the velocity is
            given at the low end, the inflow; at the high end, the outflow, the velocity's normal
            derivative and the pressure are zero).
        stretching: g >= 0; 0 is uniform. Faces at (1 + tanh(g s) / tanh g) / 2 for s from -1 to 1,
            denser at both ends.
        origin: position of the low end.

    Raises:
        InputError: fewer than 4 cells, no positive length, an unknown kind, negative stretching,
            or a stretched periodic axis.
    """

    cells: int
    length: float = 1.0
    kind: str = "walls"
    stretching: float = 0.0
    origin: float = 0.0

    def __post_init__(self) -> None:
        if self.cells < 4:
            raise InputError(f"an axis needs 4 cells or more, got {self.cells}")
        if not 0 < self.length < math.inf:
            raise InputError(f"an axis needs a positive length, got {self.length}")
        if self.kind not in KINDS:
            raise InputError(f"an axis is one of {', '.join(KINDS)}, not '{self.kind}'")
        if not 0 <= self.stretching <= 6:
            raise InputError(f"stretching={self.stretching} is not between 0 (uniform) and 6")
        if self.stretching and self.kind == "periodic":
            raise InputError("a periodic axis is uniform: set its stretching to 0, or use walls")

    @property
    def periodic(self) -> bool:
        return self.kind == "periodic"

    @property
    def n_faces(self) -> int:
        return self.cells if self.periodic else self.cells + 1

    def metrics(self, like: Float[Tensor, " ..."] | None = None) -> Metrics:
        """Its lengths (N,), (N + 1,), in dtype and on device of `like` (None: float64, CPU)."""
        if like is None:
            return _metrics(self, torch.float64, "cpu")
        return _metrics(self, like.dtype, str(like.device))

    def spacing(self, like: Float[Tensor, " ..."], dim: int) -> Metrics:
        """The same, shaped to broadcast along `dim` (-1 or -2) of a field (..., H, W)."""
        return _shaped(self, like.dtype, str(like.device), dim)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept must serve training too
def _metrics(axis: Axis, dtype: torch.dtype, device: str) -> Metrics:
    s = torch.linspace(-1, 1, axis.cells + 1, dtype=torch.float64)
    if axis.stretching:
        s = torch.tanh(axis.stretching * s) / math.tanh(axis.stretching)
    faces = axis.origin + 0.5 * axis.length * (1 + s)
    centres, widths = 0.5 * (faces[1:] + faces[:-1]), faces.diff()
    free = torch.ones_like(faces)
    if axis.periodic:
        distances, faces, free = widths, faces[:-1], free[:-1]
    else:
        distances = torch.cat((widths[:1] / 2, centres.diff(), widths[-1:] / 2))
        free[0] = 0
        if axis.kind == "walls":
            free[-1] = 0
    return Metrics(*(x.to(device, dtype) for x in (faces, centres, widths, distances, free)))


@lru_cache(maxsize=512)
@torch.inference_mode(False)  # what is kept must serve training too
def _shaped(axis: Axis, dtype: torch.dtype, device: str, dim: int) -> Metrics:
    metrics = _metrics(axis, dtype, device)
    return metrics if dim == -1 else Metrics(*(x[:, None] for x in metrics))


def _ends(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)


def _pairs(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(all but the last, all but the first)."""
    n = x.shape[dim] - 1
    return x.narrow(dim, 0, n), x.narrow(dim, 1, n)


def _framed(low: Tensor, inner: Tensor, high: Tensor, dim: int) -> Tensor:
    shape = torch.broadcast_shapes(
        low.shape, high.shape, inner.narrow(dim, 0, 1).shape if inner.shape[dim] else low.shape
    )
    whole = (*shape[:dim], inner.shape[dim], *shape[len(shape) + dim + 1 :])
    return torch.cat((low.expand(shape), inner.expand(whole), high.expand(shape)), dim)


# --- from faces to cells --------------------------------------------------------------------


def cell_mean(axis: Axis, faces: Float[Tensor, "*B J I"], dim: int) -> Float[Tensor, "*B H W"]:
    """Mean of each cell's two faces, (..., H, W) with N entries along `dim`."""
    if axis.periodic:
        return 0.5 * (faces + faces.roll(-1, dim))
    low, high = _pairs(faces, dim)
    return 0.5 * (low + high)


def cell_difference(
    axis: Axis, faces: Float[Tensor, "*B J I"], dim: int
) -> Float[Tensor, "*B H W"]:
    """Derivative in each cell, (..., H, W) with N entries along `dim`.

    The difference of its two faces over its width.
    """
    if axis.periodic:
        difference = faces.roll(-1, dim) - faces
    else:
        low, high = _pairs(faces, dim)
        difference = high - low
    return difference / axis.spacing(faces, dim).widths


# --- from cells to faces --------------------------------------------------------------------


def face_mean(
    axis: Axis,
    cells: Float[Tensor, "*B H W"],
    dim: int,
    low: Float[Tensor, " ..."] | None = None,
    high: Float[Tensor, " ..."] | None = None,
) -> Float[Tensor, "... J I"]:
    """Plain mean of the two cells at each face; `low` and `high` at the ends of the axis.

    (..., H, W), with N or N + 1 faces along `dim`.

    Without a value, the end takes its only neighbour's. The plain mean, also between cells of
    different width, is what makes central advection conserve energy.
    """
    if axis.periodic:
        return 0.5 * (cells + cells.roll(1, dim))
    below, above = _pairs(cells, dim)
    first, last = _ends(cells, dim)
    return _framed(
        first if low is None else low, 0.5 * (below + above), last if high is None else high, dim
    )


def face_flux_mean(axis: Axis, cells: Float[Tensor, "*B H W"], dim: int) -> Float[Tensor, "*B J I"]:
    """Mean weighted by the cells' widths: the flux density through a face-centred volume's side.

    (..., H, W), with N or N + 1 faces along `dim`.
    """
    if axis.periodic:
        return 0.5 * (cells + cells.roll(1, dim))
    m = axis.spacing(cells, dim)
    below, above = _pairs(cells * m.widths, dim)
    inner = m.distances.narrow(dim, 1, axis.cells - 1)
    first, last = _ends(cells, dim)
    return _framed(first, 0.5 * (below + above) / inner, last, dim)


def face_difference(
    axis: Axis,
    cells: Float[Tensor, "*B H W"],
    dim: int,
    low: Float[Tensor, " ..."] | None = None,
    high: Float[Tensor, " ..."] | None = None,
) -> Float[Tensor, "... J I"]:
    """Derivative at each face; without a value at an end, the derivative there is zero.

    (..., H, W), with N or N + 1 faces along `dim`.
    """
    distances = axis.spacing(cells, dim).distances
    if axis.periodic:
        return (cells - cells.roll(1, dim)) / distances
    below, above = _pairs(cells, dim)
    first, last = _ends(cells, dim)
    start = torch.zeros_like(first) if low is None else first - low
    stop = torch.zeros_like(last) if high is None else high - last
    return _framed(start, above - below, stop, dim) / distances


def flux_difference(
    axis: Axis,
    cells: Float[Tensor, "*B H W"],
    dim: int,
    outflux: Float[Tensor, " ..."] | None = None,
) -> Float[Tensor, "... J I"]:
    """Divergence, at the faces, of fluxes known at the cells' centres.

    (..., H, W), with N or N + 1 faces along `dim`.

    Zero at faces whose velocity is given. `outflux` is the flux through the open end, zero if
    not given.
    """
    m = axis.spacing(cells, dim)
    if axis.periodic:
        return (cells - cells.roll(1, dim)) / m.distances
    below, above = _pairs(cells, dim)
    first, last = _ends(cells, dim)
    zero = torch.zeros_like(first)
    if axis.kind == "walls":
        end = zero
    else:
        end = -last if outflux is None else outflux - last
    return _framed(zero, above - below, end, dim) / m.distances
