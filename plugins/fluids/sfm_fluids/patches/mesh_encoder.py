"""`fluids/mesh`: fields on an unstructured mesh of triangles become tokens, one per point.

Positions are in mean lengths of an edge, in the tokens' x-y plane, so a mesh may be turned, shifted
and made larger. Messages run along the mesh's edges, or between all points that are near. What a
point is told: whether it lies on the boundary and where the outside is, how large the triangles
about it are, the fields that are given there, and numbers that hold for the whole mesh. With
`along="levels"` messages run along coarser meshes of the same points, too, all in one pass (R. Lam
et al., Science 382, 1416 (2023), doi:10.1126/science.adi2336, call that a multi-mesh), and two
layers reach across the whole.

Any consistent system of units; fields go in as they are, compressed by asinh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.nn.encoder import Encoder
from sfm.nn.harmonics import from_matrix
from sfm_fluids.elements.coarsening import coarser
from sfm_fluids.elements.mesh import Mesh, boundary_edges, doubled_areas, edges, mean_at_points

SCALARS, VECTORS, NUMBERS = 4, 2, 12
LONGEST = 1.25  # range of an edge's message, over the mesh's longest edge
APART = 0.5  # between the lengths at which edges of one level and the next are seen
ALONG = ("edges", "levels", "distance")


class MeshEncoder(Encoder):
    """A mesh of n points -> n tokens.

    Fields: `mesh_points` (n, 2); `mesh_triangles` (m, 3), numbers of points, in any sense of
    rotation; and, where there are any, `mesh_scalars` (n, up to 4), `mesh_vectors` (n, 2, up to 2),
    which turn with the mesh, and `mesh_parameters` (up to 12,).

    Raw features: 18 scalars (on the boundary, logarithm of the edges' mean length, the given ones,
    parameters), 3 vectors (outward normal, the given ones) and 1 tensor (the plane's normal).

    Args:
        channels: width of the trunk.
        cutoff: interaction range in mean lengths of an edge, for `along="distance"`; else it is
            1.25 of the longest edge, and no cutoff can be given.
        along: `edges`, messages along the mesh's edges; `levels`, along those of ever coarser
            meshes, too, of which each is seen at a length of its own (1, 1.5, 2, ... in the mean);
            `distance`, between points closer than the cutoff.

    Raises:
        InputError: a cutoff for edges; in `tokenize`, fields of other shapes, or no mesh.
    """

    part: ClassVar[str] = "fluids/mesh"
    domain: ClassVar[str] = "fluids"
    length_unit: ClassVar[str] = "1"
    raw: ClassVar[tuple[int, int, int]] = (2 + SCALARS + NUMBERS, 1 + VECTORS, 1)
    fields: ClassVar[tuple[str, ...]] = ("mesh_points", "mesh_triangles")
    default_cutoff: ClassVar[float] = 3.0
    largest_cutoff: ClassVar[float] = 1000.0
    token: ClassVar[str] = "point"

    def __init__(self, *, channels: int, cutoff: float | None = None, along: str = "edges") -> None:
        if along not in ALONG:
            raise InputError(
                f"encoder '{self.part}': along={along!r} is none of {', '.join(ALONG)}"
            )
        if along != "distance" and cutoff is not None:
            raise InputError(
                f"encoder '{self.part}': messages along {along} have no cutoff; leave it out, or "
                "set along=distance"
            )
        super().__init__(channels=channels, cutoff=cutoff)
        self.along = along

    @property
    def options(self) -> dict[str, Any]:
        """Constructor arguments besides `channels`."""
        if self.along != "distance":
            return {"along": self.along}
        return {"cutoff": self.cutoff, "along": self.along}

    def tokenize(self, sample: Sample) -> Tokens:
        """Tokens; extras `mesh_boundary` (n,) and `grid_cells` (S,), the number of points."""
        mesh = mesh_of(sample, f"encoder '{self.part}'")
        n = len(mesh.points)
        ends, _ = edges(mesh.triangles)
        long = torch.linalg.vector_norm(mesh.points[ends[:, 0]] - mesh.points[ends[:, 1]], dim=1)
        unit = long.mean()
        positions = torch.cat((mesh.points / unit, torch.zeros(n, 1, dtype=torch.float64)), 1)
        pairs, stretch, cutoff = self._pairs(positions, ends)
        sizes = mean_at_points((long / unit).log(), ends, n)
        normals, outer = _normals(mesh)
        vectors = torch.zeros(n, 3, 1 + VECTORS, dtype=torch.float64)
        vectors[:, :2, 0] = normals
        given = self._given(sample, "mesh_vectors", (n, 2), VECTORS)
        vectors[:, :2, 1 : 1 + given.shape[2]] = given
        scalars = torch.zeros(n, self.raw[0], dtype=torch.float64)
        scalars[:, 0], scalars[:, 1] = outer, sizes
        values = self._given(sample, "mesh_scalars", (n,), SCALARS)
        scalars[:, 2 : 2 + values.shape[1]] = values
        numbers = self._given(sample, "mesh_parameters", (), NUMBERS)
        scalars[:, 2 + SCALARS : 2 + SCALARS + len(numbers)] = numbers
        flat = torch.zeros(n, 3, 3, 1, dtype=torch.float64)
        flat[:, 2, 2] = 1.0
        tokens = Tokens.make(
            positions=positions,
            types=torch.zeros(n, dtype=torch.long),
            edges=pairs,
            cutoff=cutoff,
            scalars=scalars,
            vectors=vectors,
            tensors=from_matrix(flat),
            conditions=self.condition_values(sample),
            extras={"mesh_boundary": outer > 0, "grid_cells": torch.tensor([n])},
            id=sample.id,
        )
        return tokens if stretch is None else tokens.replace(stretch=stretch)

    def _pairs(self, positions: Tensor, ends: Tensor) -> tuple[Tensor, Tensor | None, float]:
        """(2, E) senders and receivers, sorted by receivers; factors (E,) on their vectors, None
        for 1; and the range of their messages."""
        if self.along == "distance":
            near, _ = neighbour_list(positions.numpy(), self.cutoff)
            return torch.from_numpy(near), None, self.cutoff
        levels = [ends] if self.along == "edges" else [ends, *coarser(ends, len(positions))]
        sizes, factors = [], []
        for number, pairs in enumerate(levels):
            apart = positions[pairs[:, 0]] - positions[pairs[:, 1]]
            length = torch.linalg.vector_norm(apart, dim=1)
            factors.append(torch.full_like(length, (1 + APART * number) / float(length.mean())))
            sizes.append(length * factors[-1])
        both = torch.cat(levels)
        both, factor = torch.cat((both, both.flip(1))).T, torch.cat(factors).repeat(2)
        order = both[1].argsort(stable=True)
        stretch = None if len(levels) == 1 else factor[order]
        return both[:, order], stretch, LONGEST * float(torch.cat(sizes).max())

    def _given(self, sample: Sample, name: str, shape: tuple[int, ...], most: int) -> Tensor:
        """A field (*shape, up to `most`), compressed; nothing where there is none."""
        if name not in sample.fields:
            return torch.zeros(*shape, 0, dtype=torch.float64)
        values = torch.from_numpy(np.array(sample.fields[name], dtype=np.float64))
        if values.shape[:-1] != shape or values.shape[-1] > most:
            allowed = ", ".join([*map(str, shape), f"up to {most}"])
            raise InputError(f"{sample.id}: {name} {tuple(values.shape)} is not ({allowed})")
        if name != "mesh_vectors":
            return torch.asinh(values)
        size = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        return values * torch.where(size > 1e-6, torch.asinh(size) / size.clamp_min(1e-6), 1.0)

    def symmetries(
        self, generator: torch.Generator
    ) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
        """Rotation, reflection, translation and another size of the mesh; (n, 2) outputs turn."""
        angle = float(torch.rand((), generator=generator) * 2 * torch.pi)
        c, s = np.cos(angle), np.sin(angle)

        def moving(matrix: np.ndarray, shift: float = 0.0, size: float = 1.0) -> Any:
            def move(sample: Sample) -> Sample:
                fields = dict(sample.fields)
                fields["mesh_points"] = size * fields["mesh_points"] @ matrix.T + shift
                if "mesh_vectors" in fields:
                    fields["mesh_vectors"] = np.einsum(
                        "ij,njk->nik", matrix, fields["mesh_vectors"]
                    )
                return sample.replace(fields=fields)

            return move

        def turning(matrix: np.ndarray) -> Callable[[str, Tensor], Tensor]:
            def turn(_: str, value: Tensor) -> Tensor:
                plane = value.ndim == 2 and value.shape[1] == 2
                return value @ torch.from_numpy(matrix).to(value).T if plane else value

            return turn

        turned, mirrored = np.array([[c, -s], [s, c]]), np.diag([1.0, -1.0])
        yield "rotation", moving(turned), turning(turned)
        yield "reflection", moving(mirrored), turning(mirrored)
        yield "translation", moving(np.eye(2), 3.0), turning(np.eye(2))
        yield "another size", moving(np.eye(2), 0.0, 1.7), turning(np.eye(2))

    @classmethod
    def examples(cls) -> list[Sample]:
        """Small meshes with fields, of a quadrilateral and of an L."""
        from sfm_fluids.elements.mesh import COOK, l_shape, quadrilateral

        samples = []
        for number, mesh in enumerate((quadrilateral(COOK, 3, 2), l_shape(2))):
            x = mesh.points.numpy()
            fields = {
                "mesh_points": x,
                "mesh_triangles": mesh.triangles.numpy(),
                "mesh_scalars": np.sin(x),
                "mesh_vectors": np.cos(x)[:, :, None],
                "mesh_parameters": np.array([0.5, 20.0]),
            }
            samples.append(Sample(id=f"mesh {number}", domain="fluids", fields=fields))
        return samples


def mesh_of(sample: Sample, who: str) -> Mesh:
    """The sample's mesh, its corners counter-clockwise.

    Raises:
        InputError: there is none, or its shapes or numbers do not fit.
    """
    for name in ("mesh_points", "mesh_triangles"):
        if name not in sample.fields:
            raise InputError(f"{sample.id}: no field '{name}', which {who} needs")
    points = torch.from_numpy(np.array(sample.fields["mesh_points"], dtype=np.float64))
    triangles = torch.from_numpy(np.array(sample.fields["mesh_triangles"], dtype=np.int64))
    fits = points.ndim == triangles.ndim == 2 and points.shape[1] == 2 and triangles.shape[1] == 3
    if fits and len(triangles) and 0 <= int(triangles.min()) <= int(triangles.max()) < len(points):
        clockwise = doubled_areas(points, triangles) < 0
        triangles = torch.where(clockwise[:, None], triangles.flip(1), triangles)
    try:
        return Mesh(points, triangles)
    except InputError as error:
        raise InputError(f"{sample.id}: {error}") from None


def _normals(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """(n, 2) unit outward normals of boundary points, zero inside; (n,) 1 on the boundary."""
    pairs = torch.cat([mesh.triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    outer = boundary_edges(mesh.triangles)
    n = len(mesh.points)
    low = pairs.sort(1).values
    of_boundary = torch.isin(low[:, 0] * n + low[:, 1], outer[:, 0] * n + outer[:, 1])
    along = pairs[of_boundary]  # counter-clockwise: the outside is on the right
    step = mesh.points[along[:, 1]] - mesh.points[along[:, 0]]
    right = torch.stack((step[:, 1], -step[:, 0]), 1)
    total = mesh.points.new_zeros(n, 2).index_add(0, along.T.flatten(), right.repeat(2, 1))
    on = mesh.points.new_zeros(n)
    on[outer.flatten()] = 1.0
    return torch.nn.functional.normalize(total, dim=1), on
