"""What simulators on meshes share: one solve is one step.

Any consistent system of units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Setting, Simulator, Trajectory
from sfm_fluids.elements.files import read_mesh
from sfm_fluids.elements.mesh import Mesh, doubled_areas
from sfm_fluids.elements.space import Space
from sfm_fluids.figures.films import STILL

MESH_FILE = Setting("mesh_file", "", summary="a file of triangles in the stead of the domain's")


class MeshSimulator(Simulator):
    """A steady equation on a mesh of triangles.

    Args:
        mesh: any mesh, in the stead of the settings `domain` and `mesh_file`.

    Raises:
        InputError: a side is named that the mesh has not; elements of degree other than 1 and 2.
    """

    default_steps: ClassVar[int] = 1
    plots_to: ClassVar[tuple[str, ...]] = STILL

    mesh_file: str
    degree: int = 2  # of the elements, where it is no setting

    def __init__(
        self, *, mesh: Mesh | None = None, dtype: torch.dtype = torch.float64, **values: Any
    ) -> None:
        super().__init__(dtype=dtype, **values)
        # no mesh of `domain`: its lid or inflow does not apply
        self.external = mesh is not None or bool(self.mesh_file)
        if mesh is not None and self.mesh_file:
            raise InputError(f"{self.part}: give mesh or mesh_file='{self.mesh_file}', not both")
        if mesh is None:
            mesh = read_mesh(self.mesh_file) if self.mesh_file else self.domain_mesh()
        self.space = Space.of(mesh, self.degree)

    def domain_mesh(self) -> Mesh:
        """The mesh of the setting `domain`."""
        raise NotImplementedError

    def named(self, setting: str) -> list[str]:
        """Sides in a setting, written `left,right`; all of them must be the mesh's.

        Raises:
            InputError: there is no such side.
        """
        names = [n.strip() for n in str(getattr(self, setting)).split(",") if n.strip()]
        for name in names:
            if name not in self.space.sides:
                known = ", ".join(self.space.sides)
                raise InputError(f"{self.part}: {setting}: the mesh has no side '{name}' ({known})")
        return names

    def refuse(self, sample: Sample | None) -> None:
        """Refuse a sample.

        Raises:
            InputError: one is given.
        """
        if sample is not None:
            raise InputError(
                f"{sample.id}: {self.part} starts from no sample; in Python, mesh=Mesh(points, "
                "triangles) and the fields of its state say what is solved"
            )

    def solve(self, state: Any) -> Any:
        """The state with its solution."""
        raise NotImplementedError

    def forward(self, state: Any, steps: int = 1) -> Any:
        """The state with its solution (0 steps: `state` itself).

        Raises:
            InputError: a coefficient that is not positive, or a triangle turned over.
            RunError: nothing fixes the solution.
        """
        return self.solve(state) if steps else state

    def points_of(self, state: Any) -> Float[Tensor, "n 2"]:
        """The places (n, 2) of the mesh's points, float64.

        Raises:
            InputError: a triangle has no area, or its corners go clockwise.
        """
        points: Tensor = state.points.double()
        area = doubled_areas(points.detach(), self.space.mesh.triangles)
        if not bool((area > 0).all()):
            raise InputError(
                f"{self.part}: triangle {int(area.argmin())} is turned over: points moved too far"
            )
        return points

    def check_positive(self, name: str, values: Float[Tensor, " m"]) -> None:
        """Refuse coefficients (m,) of triangles that are not positive.

        Raises:
            InputError: one is not.
        """
        if not bool((values > 0).all()):
            raise InputError(f"{self.part}: {name} must be positive on every triangle")

    def time(self, state: Any) -> float:
        """Solves: 0 or 1."""
        return float(bool(state[-1].any()))

    def converged(self, state: Any) -> bool:
        """Whether the solution is that of the rest of the state, to 1e-4."""
        with torch.no_grad():
            solved = self.solve(state)[-1]
            return bool((solved - state[-1]).norm() <= 1e-4 * solved.norm())

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """The solution on the mesh."""
        from sfm_fluids.figures.mesh import draw

        draw(self.space.mesh.triangles.numpy(), trajectory, Path(path))
