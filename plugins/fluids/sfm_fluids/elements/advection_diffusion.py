"""`fluids/advection-diffusion`: a scalar that diffuses, drifts and reacts, on any mesh."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_fluids.elements.forms import advection, diffusion, integral, load, mass, triangles
from sfm_fluids.elements.mesh import UNIT, Mesh, l_shape, quadrilateral
from sfm_fluids.elements.simulator import MESH_FILE, MeshSimulator
from sfm_fluids.elements.system import assembled, solution
from sfm_fluids.quantities import MESH_INTEGRAL, MESH_POINTS, MESH_SOLUTION

DOMAINS = ("square", "l-shape")


class ScalarState(NamedTuple):
    """N nodes, n points and m triangles.

    Attributes:
        points: (n, 2).
        factor: (m,) what multiplies the diffusivity on each triangle.
        source: (N,) in units of `source_strength`, interpolated between nodes.
        boundary: (N,) what u is on Dirichlet sides, besides `boundary_value`.
        solution: (N,) u.
    """

    points: Tensor
    factor: Tensor
    source: Tensor
    boundary: Tensor
    solution: Tensor


class AdvectionDiffusion(MeshSimulator):
    """Steady diffusion, drift and decay of a scalar; Poisson's equation without the last two.

        -div(k grad u) + b . grad u + c u = f

        k = diffusivity factor(x),    b = (velocity_x, velocity_y),    c = reaction
        f = source_strength source(x)

    u is given on all sides but those in `insulated`, where k du/dn = 0. Galerkin finite elements of
    degree 1 or 2 on triangles (Ciarlet 1978); sparse LU. Derivatives in points, coefficients,
    sources, boundary values and parameters by the adjoint, which reuses the factors; second ones
    too.

    The mesh is that of a `domain` (`square`: the unit square with sides `bottom`, `right`, `top`,
    `left`; `l-shape`: (-1, 1)^2 without a quadrant) or, in Python, any: `mesh=Mesh(points,
    triangles, sides)`.

    Any consistent units. Good values: |b| h / (2 k) below 1 with h a triangle's size, or layers
    oscillate; the run says so.

    Limits: two dimensions, straight triangles, steady; no upwinding; one drift for all.
    """

    part: ClassVar[str] = "fluids/advection-diffusion"
    summary: ClassVar[str] = "Poisson and advection-diffusion by finite elements on triangles"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("diffusivity", "1", 1.0, 1e-12, 1e12, "k"),
        Parameter("velocity_x", "1", 0.0, summary="drift along x"),
        Parameter("velocity_y", "1", 0.0, summary="drift along y"),
        Parameter("reaction", "1", 0.0, 0.0, 1e12, "c, rate of decay"),
        Parameter("source_strength", "1", 1.0, summary="multiplies the source"),
        Parameter("boundary_value", "1", 0.0, summary="u on Dirichlet sides"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("domain", "square", DOMAINS, summary="whose mesh is made"),
        Setting("cells", 16, summary="cells of two triangles to a unit length"),
        MESH_FILE,
        Setting("degree", 2, (1, 2), summary="of the elements"),
        Setting("insulated", "", summary="sides without flux, as left,right"),
    )
    observables = (MESH_POINTS, MESH_SOLUTION, MESH_INTEGRAL)
    citations = ("https://doi.org/10.1137/1.9780898719208",)  # Ciarlet 1978, reprinted 2002

    diffusivity: Tensor
    velocity_x: Tensor
    velocity_y: Tensor
    reaction: Tensor
    source_strength: Tensor
    boundary_value: Tensor
    domain: str
    cells: int
    degree: int
    insulated: str

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        open_sides = self.named("insulated")
        self.fixed = self.space.on(s for s in self.space.sides if s not in open_sides)
        if not bool(self.fixed.any()) and not bool(self.reaction.detach() > 0):
            raise InputError(
                f"{self.part}: all sides are insulated and reaction=0: u is known up to a constant "
                "only; leave a side out of insulated"
            )

    def domain_mesh(self) -> Mesh:
        if self.domain == "square":
            return quadrilateral(UNIT, self.cells, self.cells)
        return l_shape(self.cells)

    def state(self, sample: Sample | None = None) -> ScalarState:
        """Source 1, boundary values 0, factor 1.

        Raises:
            InputError: a sample is given.
        """
        self.refuse(sample)
        ones = torch.ones(self.space.size, dtype=self.dtype)
        zeros = torch.zeros_like(ones)
        factor = torch.ones(len(self.space.cells), dtype=self.dtype)
        return ScalarState(self.space.mesh.points.to(self.dtype), factor, ones, zeros, zeros)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[AdvectionDiffusion, ScalarState]:
        """Three cells to a side, all terms, one side insulated."""
        case = {"cells": 3, "velocity_x": 2.0, "velocity_y": -1.0, "reaction": 0.5}
        simulator = cls(**{**case, "insulated": "right", "boundary_value": 0.3, **values})
        return simulator, simulator.state()

    def solve(self, state: ScalarState) -> ScalarState:
        t = triangles(self.space, self.points_of(state))
        k = (self.diffusivity * state.factor).double()
        self.check_positive("the diffusivity", k)
        drift = torch.stack((self.velocity_x, self.velocity_y)).double()
        ones = torch.ones_like(k)
        matrices = diffusion(t, k) + advection(t, ones[:, None] * drift)
        matrices = matrices + mass(t, ones * self.reaction.double())
        f = (self.source_strength * state.source).double()
        u = solution(
            matrices,
            self.space.cells,
            assembled(load(t, f[self.space.cells]), self.space.cells, self.space.size),
            self.fixed,
            (state.boundary + self.boundary_value).double(),
            where=self.part,
        )
        return state._replace(solution=u.to(self.dtype))

    def observe(self, state: ScalarState) -> dict[str, Shaped[Tensor, " ..."]]:
        """mesh_points (N, 2), mesh_solution (N,), mesh_integral ()."""
        t = triangles(self.space, self.points_of(state))
        return {
            "mesh_points": self.space.nodes(state.points),
            "mesh_solution": state.solution,
            "mesh_integral": integral(t, state.solution.double()[self.space.cells]).to(self.dtype),
        }

    def warnings(self, state: ScalarState) -> tuple[str, ...]:
        """Layers that the mesh does not resolve."""
        t = triangles(self.space, self.points_of(state))
        size = (2 * t.measure.sum(1).detach()).sqrt() / self.degree
        speed = torch.hypot(self.velocity_x, self.velocity_y).detach()
        peclet = float((speed * size / (2 * self.diffusivity * state.factor).detach()).max())
        if peclet <= 1:
            return ()
        return (f"|b| h / (2 k) is {peclet:.3g}: layers oscillate; take more cells",)
