"""`fluids/stokes`: slow viscous flow on any mesh, by Taylor-Hood elements."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_fluids.elements.forms import Triangles, diffusion, divergence, integral, load, triangles
from sfm_fluids.elements.mesh import UNIT, Mesh, quadrilateral
from sfm_fluids.elements.simulator import MESH_FILE, MeshSimulator
from sfm_fluids.elements.system import assembled, product, solution
from sfm_fluids.elements.triangle import shapes
from sfm_fluids.quantities import (
    MESH_POINTS,
    MESH_PRESSURE,
    MESH_VELOCITY,
    STOKES_DISSIPATION,
)


class StokesState(NamedTuple):
    """N nodes (corners and midpoints) and n points.

    Attributes:
        points: (n, 2).
        force: (N, 2) per mass, interpolated between nodes.
        boundary: (N, 2) velocity on walls, in units of `speed`.
        pressure: (n,) over density, at the corners.
        velocity: (N, 2).
    """

    points: Tensor
    force: Tensor
    boundary: Tensor
    pressure: Tensor
    velocity: Tensor


class Stokes(MeshSimulator):
    """Slow, steady, incompressible flow.

        -nu lap u + grad p = f,    div u = 0

    u = speed boundary(x) on all sides but those in `outflow`, where nu du/dn = p n. Taylor-Hood
    elements: u of degree 2, p of degree 1, continuous; sparse LU of the whole system. Without an
    outflow p has mean zero. Derivatives in points, forces, boundary and parameters by the adjoint.

    Domains: `cavity`, the unit square whose lid moves along x with `speed` (u = 0 at its corners);
    `channel`, 4 long and 1 high, with the parabola of greatest velocity `speed` at the left and an
    outflow at the right. In Python any mesh: `mesh=Mesh(points, triangles, sides)`, whose walls are
    at rest until `boundary` says otherwise.

    Any consistent units. Good values: 16 cells to the height.

    Limits: no inertia (for that `fluids/cavity`, `fluids/channel`), two dimensions, straight
    triangles; a flow in through sides without outflow must equal that out.
    """

    part: ClassVar[str] = "fluids/stokes"
    summary: ClassVar[str] = "Stokes flow by Taylor-Hood finite elements on triangles"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 1.0, 1e-12, 1e12, "nu"),
        Parameter("speed", "1", 1.0, summary="of the lid, or in the middle of the inflow"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("domain", "cavity", ("cavity", "channel"), summary="whose mesh is made"),
        Setting("cells", 16, summary="cells of two triangles to the height"),
        MESH_FILE,
        Setting("outflow", "", summary="sides that flow leaves by; right in a channel"),
    )
    observables = (MESH_POINTS, MESH_VELOCITY, MESH_PRESSURE, STOKES_DISSIPATION)
    citations = ("https://doi.org/10.1016/0045-7930(73)90027-3",)  # Taylor and Hood 1973

    viscosity: Tensor
    speed: Tensor
    domain: str
    cells: int
    outflow: str

    def __init__(self, *, mesh: Mesh | None = None, **values: Any) -> None:
        super().__init__(mesh=mesh, **values)
        if not self.external and self.domain == "channel" and "outflow" not in values:
            self.outflow = "right"
        open_sides = self.named("outflow")
        space, n = self.space, len(self.space.mesh.points)
        walls = space.on(s for s in space.sides if s not in open_sides)
        if not bool(walls.any()):
            raise InputError(f"{self.part}: all sides are outflows: leave a wall out of outflow")
        pinned = torch.zeros(n, dtype=torch.bool)
        self.closed = not open_sides
        pinned[0] = self.closed
        self.fixed = torch.cat((walls[:, None].expand(-1, 2).flatten(), pinned))
        velocity = (2 * space.cells[..., None] + torch.arange(2)).flatten(1)
        self.unknowns = torch.cat((velocity, 2 * space.size + space.mesh.triangles), 1)

    def domain_mesh(self) -> Mesh:
        if self.domain == "cavity":
            return quadrilateral(UNIT, self.cells, self.cells)
        corners = ((0.0, 0.0), (4.0, 0.0), (4.0, 1.0), (0.0, 1.0))
        return quadrilateral(corners, 4 * self.cells, self.cells)

    def state(self, sample: Sample | None = None) -> StokesState:
        """Fluid at rest, with the domain's moving lid or inflow.

        Raises:
            InputError: a sample is given.
        """
        self.refuse(sample)
        space, boundary = self.space, torch.zeros(self.space.size, 2, dtype=self.dtype)
        y = space.nodes()[:, 1].to(self.dtype)
        if not self.external and self.domain == "cavity":
            lid = space.on(["top"]) & ~space.on(["left", "right"])
            boundary[lid, 0] = 1.0
        elif not self.external:
            inflow = space.on(["left"])
            boundary[inflow, 0] = (4 * y * (1 - y))[inflow]
        rest = torch.zeros_like(boundary)
        pressure = torch.zeros(len(space.mesh.points), dtype=self.dtype)
        return StokesState(space.mesh.points.to(self.dtype), rest, boundary, pressure, rest.clone())

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Stokes, StokesState]:
        """A channel of two cells' height, with a force."""
        simulator = cls(**{"domain": "channel", "cells": 2, "viscosity": 0.5, **values})
        state = simulator.state()
        nodes = simulator.space.nodes(state.points)
        return simulator, state._replace(force=torch.sin(nodes.flip(1)))

    def _viscous(self, t: Triangles) -> Tensor:
        """(m, 6, 6): nu K of one component."""
        return diffusion(t, self.viscosity.double().expand(len(self.space.cells)))

    def _matrices(self, t: Triangles) -> Tensor:
        """(m, 15, 15): [[nu K, B^T], [B, 0]], unknowns velocity (node, component), pressure."""
        m, viscous = len(self.space.cells), self._viscous(t)
        eye = torch.eye(2, dtype=viscous.dtype)
        k = torch.einsum("mij,xy->mixjy", viscous, eye).reshape(m, 12, 12)
        b = divergence(t, shapes(1).values)  # (m, 3, 12)
        below = torch.cat((b, b.new_zeros(m, 3, 3)), 2)
        return torch.cat((torch.cat((k, b.mT), 2), below), 1)

    def solve(self, state: StokesState) -> StokesState:
        space, points = self.space, self.points_of(state)
        t, n = triangles(space, points), 2 * space.size
        forces = [
            assembled(load(t, f[space.cells]), space.cells, space.size)
            for f in state.force.double().unbind(1)
        ]
        rest = points.new_zeros(len(points))
        x = solution(
            self._matrices(t),
            self.unknowns,
            torch.cat((torch.stack(forces, 1).flatten(), rest)),
            self.fixed,
            torch.cat(((self.speed * state.boundary).double().flatten(), rest)),
            where=self.part,
        )
        velocity, pressure = x[:n].reshape(-1, 2), x[n:]
        if self.closed:
            linear = triangles(space, points, 1)
            corners = space.mesh.triangles
            area = integral(linear, torch.ones_like(corners, dtype=x.dtype))
            pressure = pressure - integral(linear, pressure[corners]) / area
        return state._replace(velocity=velocity.to(self.dtype), pressure=pressure.to(self.dtype))

    def observe(self, state: StokesState) -> dict[str, Shaped[Tensor, " ..."]]:
        """mesh_points, mesh_velocity (N, 2), mesh_pressure (n,), stokes_dissipation ()."""
        k = self._viscous(triangles(self.space, self.points_of(state)))
        parts = [v @ product(k, self.space.cells, v) for v in state.velocity.double().unbind(1)]
        return {
            "mesh_points": self.space.nodes(state.points),
            "mesh_velocity": state.velocity,
            "mesh_pressure": state.pressure,
            "stokes_dissipation": (parts[0] + parts[1]).to(self.dtype),
        }
