"""`fluids/elasticity`: small deformations of an elastic body in the plane, on any mesh."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_fluids.elements.forms import Triangles, elastic, load, triangles
from sfm_fluids.elements.mesh import COOK, Mesh, quadrilateral
from sfm_fluids.elements.simulator import MESH_FILE, MeshSimulator
from sfm_fluids.elements.system import assembled, product, solution
from sfm_fluids.quantities import MESH_DISPLACEMENT, MESH_POINTS, STRAIN_ENERGY, TIP_DISPLACEMENT


class ElasticState(NamedTuple):
    """N nodes, n points and m triangles.

    Attributes:
        points: (n, 2), before deformation.
        factor: (m,) what multiplies Young's modulus on each triangle.
        displacement: (N, 2).
    """

    points: Tensor
    factor: Tensor
    displacement: Tensor


class Elasticity(MeshSimulator):
    """Linear elasticity in the plane.

        -div sigma = g,    sigma = lambda (div u) I + 2 mu eps(u),    eps = (grad u + grad u^T) / 2

        mu = E / (2 (1 + nu)),  lambda = E nu / (1 - nu^2)              (plane stress)
                                lambda = E nu / ((1 + nu) (1 - 2 nu))   (plane strain)

    with E = young_modulus factor(x) and g = (body_force_x, body_force_y). u = 0 on the sides in
    `clamped`, the traction sigma n = (traction_x, traction_y) acts on those in `loaded`, the others
    are free (L. D. Landau and E. M. Lifshitz, Theory of Elasticity, 3rd ed., Pergamon 1986,
    sections 2 and 5). Finite elements of degree 1 or 2; sparse LU. Derivatives in points, factor
    and parameters by the adjoint.

    The default is Cook's membrane (corners (0, 0), (48, 44), (48, 60), (0, 44), E = 1, nu = 1/3,
    plane stress, a shear load of 1 in all): the middle of its right side rises by 23.96. `beam` is
    10 long and 1 high.

    Any consistent units, thickness 1. Good values: degree 2; nu up to 0.49 in plane strain.

    Limits: small strains, isotropic, steady; degree 1 locks towards nu = 1/2 in plane strain.
    """

    part: ClassVar[str] = "fluids/elasticity"
    summary: ClassVar[str] = "linear elasticity in the plane by finite elements on triangles"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("young_modulus", "1", 1.0, 1e-12, 1e15, "E"),
        Parameter("poisson_ratio", "1", 1 / 3, -0.99, 0.4999, "nu"),
        Parameter("traction_x", "1", 0.0, summary="force per area along x on loaded sides"),
        Parameter("traction_y", "1", 1 / 16, summary="force per area along y on loaded sides"),
        Parameter("body_force_x", "1", 0.0, summary="force per volume along x"),
        Parameter("body_force_y", "1", 0.0, summary="force per volume along y"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("domain", "cook", ("cook", "beam"), summary="whose mesh is made"),
        Setting("cells", 16, summary="cells of two triangles to the shorter sides"),
        MESH_FILE,
        Setting("degree", 2, (1, 2), summary="of the elements"),
        Setting("plane", "stress", ("stress", "strain"), summary="thin sheet, or long body"),
        Setting("clamped", "left", summary="sides that are held, as left,right"),
        Setting("loaded", "right", summary="sides that the traction acts on"),
    )
    observables = (MESH_POINTS, MESH_DISPLACEMENT, STRAIN_ENERGY, TIP_DISPLACEMENT)
    citations = ("https://doi.org/10.1061/JSDEAG.0003877",)  # Cook 1974, the membrane

    young_modulus: Tensor
    poisson_ratio: Tensor
    traction_x: Tensor
    traction_y: Tensor
    body_force_x: Tensor
    body_force_y: Tensor
    domain: str
    cells: int
    degree: int
    plane: str
    clamped: str
    loaded: str

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        held, self.loaded_sides = self.named("clamped"), self.named("loaded")
        if not held:
            raise InputError(f"{self.part}: clamped is empty: a body that nothing holds drifts")
        self.fixed = self.space.on(held)[:, None].expand(-1, 2).flatten()
        self.unknowns = (2 * self.space.cells[..., None] + torch.arange(2)).flatten(1)

    def domain_mesh(self) -> Mesh:
        if self.domain == "cook":
            return quadrilateral(COOK, self.cells, self.cells)
        corners = ((0.0, 0.0), (10.0, 0.0), (10.0, 1.0), (0.0, 1.0))
        return quadrilateral(corners, 10 * self.cells, self.cells)

    def state(self, sample: Sample | None = None) -> ElasticState:
        """The body at rest, factor 1.

        Raises:
            InputError: a sample is given.
        """
        self.refuse(sample)
        factor = torch.ones(len(self.space.cells), dtype=self.dtype)
        rest = torch.zeros(self.space.size, 2, dtype=self.dtype)
        return ElasticState(self.space.mesh.points.to(self.dtype), factor, rest)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Elasticity, ElasticState]:
        """Two cells to a side of Cook's membrane, with all forces."""
        case = {"cells": 2, "traction_x": 0.02, "body_force_x": 1e-4, "body_force_y": -2e-4}
        simulator = cls(**{**case, **values})
        return simulator, simulator.state()

    def _stiffness(self, state: ElasticState, t: Triangles) -> Tensor:
        """(m, K, K) element matrices."""
        e = (self.young_modulus * state.factor).double()
        self.check_positive("Young's modulus", e)
        nu = self.poisson_ratio.double()
        inner = 1 - nu**2 if self.plane == "stress" else (1 + nu) * (1 - 2 * nu)
        return elastic(t, e * nu / inner, e / (2 * (1 + nu)))

    def solve(self, state: ElasticState) -> ElasticState:
        points, n = self.points_of(state), self.space.size
        traction = torch.stack((self.traction_x, self.traction_y)).double()
        body = torch.stack((self.body_force_x, self.body_force_y)).double()
        share = sum(
            (self.space.weights(side, points) for side in self.loaded_sides), points.new_zeros(n)
        )
        t = triangles(self.space, points)
        ones = torch.ones(self.space.cells.shape, dtype=torch.float64)
        volume = assembled(load(t, ones), self.space.cells, n)
        force = share[:, None] * traction + volume[:, None] * body
        u = solution(
            self._stiffness(state, t),
            self.unknowns,
            force.flatten(),
            self.fixed,
            force.new_zeros(2 * n),
            where=self.part,
        )
        return state._replace(displacement=u.reshape(n, 2).to(self.dtype))

    def observe(self, state: ElasticState) -> dict[str, Shaped[Tensor, " ..."]]:
        """mesh_points, mesh_displacement (N, 2), strain_energy (), tip_displacement (2,)."""
        u = state.displacement.double().flatten()
        t = triangles(self.space, self.points_of(state))
        energy = 0.5 * u @ product(self._stiffness(state, t), self.unknowns, u)
        return {
            "mesh_points": self.space.nodes(state.points),
            "mesh_displacement": state.displacement,
            "strain_energy": energy.to(self.dtype),
            "tip_displacement": state.displacement[self._tip()],
        }

    def _tip(self) -> int:
        """The node that is nearest to the middle of the first loaded side (node 0 if none is)."""
        if not self.loaded_sides:
            return 0
        nodes = self.space.nodes()
        side = nodes[self.space.sides[self.loaded_sides[0]].unique()]
        middle = (side.amin(0) + side.amax(0)) / 2
        return int(torch.linalg.vector_norm(nodes - middle, dim=1).argmin())
