"""Meshes of triangles: points, corners, and the names of boundary edges.

Structured ones are made here; any other comes as arrays. Lengths in any consistent unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.errors import InputError

UNIT = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
COOK = ((0.0, 0.0), (48.0, 44.0), (48.0, 60.0), (0.0, 44.0))


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, their corners counter-clockwise.

    Attributes:
        points: (n, 2) float64.
        triangles: (m, 3) int64, indices of points.
        sides: boundary edges (k, 2) by name, each edge once; what no name holds is `other`.

    Raises:
        InputError: shapes or indices that do not fit, or a triangle without area.
    """

    points: Float[Tensor, "n 2"]
    triangles: Int[Tensor, "m 3"]
    sides: Mapping[str, Int[Tensor, "k 2"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        points, corners = self.points, self.triangles
        if points.ndim != 2 or points.shape[1] != 2 or corners.ndim != 2 or corners.shape[1] != 3:
            raise InputError(
                f"a mesh has points (n, 2) and triangles (m, 3), not {tuple(points.shape)} and "
                f"{tuple(corners.shape)}"
            )
        if not len(corners) or int(corners.min()) < 0 or int(corners.max()) >= len(points):
            raise InputError(f"a mesh's triangles must name some of its {len(points)} points")
        area = doubled_areas(points, corners)
        if not bool((area > 0).all()):
            worst = int(area.argmin())
            raise InputError(
                f"triangle {worst} of the mesh has no area or its corners go clockwise; swap two"
            )
        outer = boundary_edges(corners)
        known = [edges for edges in self.sides.values() if len(edges)]
        named = torch.cat(known).sort(1).values if known else outer[:0]
        n = len(points)
        keys, taken = (e[:, 0] * n + e[:, 1] for e in (outer, named))
        if not bool(torch.isin(taken, keys).all()):
            raise InputError("a named side of the mesh holds an edge that is not on its boundary")
        rest = outer[~torch.isin(keys, taken)]
        if len(rest):
            object.__setattr__(self, "sides", {**self.sides, "other": rest})


def doubled_areas(
    points: Float[Tensor, "n 2"], triangles: Int[Tensor, "m 3"]
) -> Float[Tensor, " m"]:
    """Twice the area of each triangle; negative where its corners go clockwise."""
    a, b, c = points[triangles].unbind(1)
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]


def edges(triangles: Int[Tensor, "m 3"]) -> tuple[Int[Tensor, "e 2"], Int[Tensor, "m 3"]]:
    """All edges, lower index first, and which of them lie opposite the corners 2, 0 and 1."""
    pairs = torch.stack((triangles, triangles.roll(-1, 1)), -1)  # 01, 12, 20
    unique, place = torch.unique(pairs.reshape(-1, 2).sort(1).values, dim=0, return_inverse=True)
    return unique, place.reshape(-1, 3)


def boundary_edges(triangles: Int[Tensor, "m 3"]) -> Int[Tensor, "k 2"]:
    """Edges of one triangle only, lower index first."""
    unique, place = edges(triangles)
    return unique[torch.bincount(place.flatten(), minlength=len(unique)) == 1]


def mean_at_points(
    values: Float[Tensor, "m ..."], corners: Int[Tensor, "m c"], n: int
) -> Float[Tensor, "n ..."]:
    """(n, ...) means over the edges or triangles about each of n points, of values (m, ...).

    corners: points of the edges (m, 2) or triangles (m, 3). A point of none has zero.
    """
    places = corners.flatten()
    total = values.new_zeros(n, *values.shape[1:])
    total = total.index_add(0, places, values.repeat_interleave(corners.shape[1], 0))
    count = torch.bincount(places, minlength=n).clamp_min(1)
    return total / count.reshape(n, *[1] * (values.ndim - 1))


def quadrilateral(corners: Sequence[tuple[float, float]], nx: int, ny: int) -> Mesh:
    """nx by ny cells of two triangles each, carried to four corners by the bilinear map.

    Sides `bottom`, `right`, `top`, `left`: from corner 0 to 1, 1 to 2, 3 to 2, 0 to 3. Diagonals
    run to the middle, so that no triangle has two edges on the boundary (from 2 x 2 cells on),
    which Taylor-Hood elements need.
    """
    if nx < 1 or ny < 1:
        raise InputError(f"a mesh of {nx} x {ny} cells: at least 1 x 1")
    s = torch.linspace(0, 1, nx + 1, dtype=torch.float64)
    t = torch.linspace(0, 1, ny + 1, dtype=torch.float64)
    y, x = torch.meshgrid(t, s, indexing="ij")
    a, b, c, d = (torch.tensor(p, dtype=torch.float64) for p in corners)
    x, y = x.reshape(-1, 1), y.reshape(-1, 1)
    points = (1 - x) * (1 - y) * a + x * (1 - y) * b + x * y * c + (1 - x) * y * d
    number = torch.arange((nx + 1) * (ny + 1)).reshape(ny + 1, nx + 1)
    sides = {
        "bottom": _chain(number[0]),
        "right": _chain(number[:, -1]),
        "top": _chain(number[-1]),
        "left": _chain(number[:, 0]),
    }
    return Mesh(points, _halves(number), sides)


def l_shape(n: int, *, grading: float = 1.0) -> Mesh:
    """(-1, 1)^2 without its quadrant x > 0, y < 0; n cells to a unit length; the side `other`.

    With a `grading` above 1 coordinates are x |x|^(grading - 1), fine at the inner corner, where
    solutions are singular.
    """
    if n < 1 or grading < 1:
        raise InputError(f"{n} cells to a unit length, grading {grading}: at least 1 each")
    line = torch.linspace(-1, 1, 2 * n + 1, dtype=torch.float64)
    line = line * line.abs() ** (grading - 1)
    y, x = torch.meshgrid(line, line, indexing="ij")
    number = torch.arange((2 * n + 1) ** 2).reshape(2 * n + 1, -1)
    corners = _halves(number)
    centre = torch.stack((x.flatten(), y.flatten()), -1)[corners].mean(1)
    corners = corners[~((centre[:, 0] > 0) & (centre[:, 1] < 0))]
    used, corners = torch.unique(corners, return_inverse=True)
    return Mesh(torch.stack((x.flatten(), y.flatten()), -1)[used], corners)


def _chain(points: Tensor) -> Tensor:
    return torch.stack((points[:-1], points[1:]), -1)


def _halves(number: Tensor) -> Tensor:
    """Two triangles for each cell of a grid of points (ny + 1, nx + 1), diagonals to the middle."""
    a, b, c, d = number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]
    rising = torch.stack((torch.stack((a, b, c), -1), torch.stack((a, c, d), -1)), 2)
    falling = torch.stack((torch.stack((a, b, d), -1), torch.stack((b, c, d), -1)), 2)
    lower, left = (torch.arange(k) < k / 2 for k in a.shape)
    return torch.where((lower[:, None] != left)[..., None, None], falling, rising).reshape(-1, 3)
