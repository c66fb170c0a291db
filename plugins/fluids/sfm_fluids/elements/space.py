"""The nodes of a mesh: corners (degree 1), and midpoints of edges too (degree 2).

Lengths in any consistent unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.errors import InputError
from sfm_fluids.elements.mesh import Mesh, edges


@dataclass(frozen=True, eq=False)
class Space:
    """Continuous functions on a mesh, polynomials of a degree on each triangle.

    Attributes:
        mesh: the mesh.
        degree: 1 or 2.
        cells: (m, k) nodes of each triangle: corners, then midpoints of the edges 01, 12, 20.
        ends: (e, 2) points that the midpoints lie between; (0, 2) for degree 1.
        sides: (k, 2 or 3) nodes of the boundary's edges by name: ends, then midpoint.
    """

    mesh: Mesh
    degree: int
    cells: Int[Tensor, "m k"]
    ends: Int[Tensor, "e 2"]
    sides: dict[str, Int[Tensor, "edges nodes"]]

    @staticmethod
    def of(mesh: Mesh, degree: int) -> Space:
        """The space of degree 1 or 2.

        Raises:
            InputError: another degree.
        """
        if degree not in (1, 2):
            raise InputError(f"elements of degree {degree}: there are those of degree 1 and 2")
        if degree == 1:
            return Space(mesh, 1, mesh.triangles, mesh.triangles.new_zeros(0, 2), dict(mesh.sides))
        n = len(mesh.points)
        ends, place = edges(mesh.triangles)
        keys = ends[:, 0] * n + ends[:, 1]  # ascending: `edges` sorts
        sides = {}
        for name, pairs in mesh.sides.items():
            low = pairs.sort(1).values
            middle = n + torch.searchsorted(keys, low[:, 0] * n + low[:, 1])
            sides[name] = torch.cat((pairs, middle[:, None]), 1)
        return Space(mesh, 2, torch.cat((mesh.triangles, n + place), 1), ends, sides)

    @property
    def size(self) -> int:
        """How many nodes there are."""
        return len(self.mesh.points) + len(self.ends)

    def nodes(self, points: Float[Tensor, "n 2"] | None = None) -> Float[Tensor, "size 2"]:
        """Places of the nodes, for the mesh's points or for these in their stead."""
        points = self.mesh.points if points is None else points
        middles: Tensor = points[self.ends].mean(1)
        return torch.cat((points, middles))

    def on(self, names: Iterable[str]) -> Bool[Tensor, " size"]:
        """Which nodes lie on any of these sides.

        Raises:
            InputError: there is no such side.
        """
        mask = torch.zeros(self.size, dtype=torch.bool)
        for name in names:
            if name not in self.sides:
                raise InputError(f"the mesh has no side '{name}' ({', '.join(self.sides)})")
            mask[self.sides[name]] = True
        return mask

    def weights(self, name: str, points: Float[Tensor, "n 2"]) -> Float[Tensor, " size"]:
        """Integral over a side of each node's shape function, a length (Simpson for degree 2)."""
        rule = [1 / 2, 1 / 2] if self.degree == 1 else [1 / 6, 1 / 6, 2 / 3]
        side = self.sides[name]
        length = torch.linalg.vector_norm(points[side[:, 1]] - points[side[:, 0]], dim=1)
        shares = length[:, None] * torch.tensor(rule, dtype=length.dtype)
        zeros: Tensor = length.new_zeros(self.size)
        return zeros.index_add(0, side.flatten(), shares.flatten())
