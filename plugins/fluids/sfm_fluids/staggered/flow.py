"""The incompressible flow between sides: its forces, projection, and one step in time.

    du/dt = -div(u u) - grad p + nu lap u + f - chi u,    div u = 0

chi >= 0, a rate on the faces, is large inside obstacles (Brinkman penalisation; Angot, Bruneau and
Fabrie, Numer. Math. 81, 497 (1999)).

Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sfm.simulate.function_transforms import traced
from sfm_fluids.staggered import operators as ops
from sfm_fluids.staggered.fast_solver import helmholtz, poisson
from sfm_fluids.staggered.grid import Sides, StaggeredGrid

# on u's faces (..., H, N_x) and v's (..., N_y, W), or of shapes that broadcast to these
Faces = tuple[Float[Tensor, " ..."], Float[Tensor, " ..."]]

# Spalart, Moser and Rogers, J. Comput. Phys. 96, 297 (1991): weights of advection now and before;
# advancing by c[k] dt with the linear terms at both ends of the stage (trapezoidal).
ADVECTION_NOW = (8 / 15, 5 / 12, 3 / 4)
ADVECTION_BEFORE = (0.0, -17 / 60, -5 / 12)
STAGE = (8 / 15, 2 / 15, 1 / 3)
IMPLICIT = (37 / 160, 5 / 24, 1 / 6)


class StaggeredState(NamedTuple):
    """Flows at one time: u (..., H, N_x), v (..., N_y, W), pressure (..., H, W), time ()."""

    u: Tensor
    v: Tensor
    pressure: Tensor
    time: Tensor


@dataclass(frozen=True)
class Flow:
    """One problem.

    Attributes:
        grid: where.
        viscosity: nu, ().
        sides: velocities tangential to the sides. The normal ones are in the state.
        force: (f on u's faces, f on v's faces) or None.
        solid: (chi on u's faces, chi on v's faces), 1 over time, or None.
    """

    grid: StaggeredGrid
    viscosity: Float[Tensor, ""]
    sides: Sides
    force: Faces | None = None
    solid: Faces | None = None

    def to(self, dtype: torch.dtype) -> Flow:
        """The same with all tensors in `dtype`."""
        return replace(self.map(lambda x: x.to(dtype)), viscosity=self.viscosity.to(dtype))

    def detach(self) -> Flow:
        """The same without gradients."""
        return replace(self.map(torch.Tensor.detach), viscosity=self.viscosity.detach())

    def map(self, change: Callable[[Float[Tensor, " ..."]], Float[Tensor, " ..."]]) -> Flow:
        """The same with `change` applied to all fields: sides, forces, obstacles."""

        def pair(faces: Faces | None) -> Faces | None:
            return None if faces is None else (change(faces[0]), change(faces[1]))

        return replace(
            self,
            sides=Sides(*(None if v is None else change(v) for v in self.sides)),
            force=pair(self.force),
            solid=pair(self.solid),
        )

    # --- terms --------------------------------------------------------------------------------

    def linear(
        self,
        u: Float[Tensor, "*#B H Nx"],
        v: Float[Tensor, "*#B Ny W"],
        p: Float[Tensor, "*#B H W"] | None,
    ) -> tuple[Float[Tensor, "... H Nx"], Float[Tensor, "... Ny W"]]:
        """nu lap u - grad p + f, without the obstacle."""
        ru, rv = ops.diffusion(u, v, self.grid, self.sides)
        ru, rv = self.viscosity * ru, self.viscosity * rv
        if p is not None:
            gx, gy = ops.gradient(p, self.grid)
            ru, rv = ru - gx, rv - gy
        if self.force is not None:
            free_u, free_v = self.grid.free(u)
            ru, rv = ru + free_u * self.force[0], rv + free_v * self.force[1]
        return ru, rv

    def tendency(
        self,
        u: Float[Tensor, "*#B H Nx"],
        v: Float[Tensor, "*#B Ny W"],
        p: Float[Tensor, "*#B H W"] | None = None,
    ) -> tuple[Float[Tensor, "... H Nx"], Float[Tensor, "... Ny W"]]:
        """du/dt and dv/dt at unknown faces, zero at given ones; without grad p if p is None."""
        ru, rv = self.linear(u, v, p)
        nu, nv = ops.advection(u, v, self.grid, self.sides)
        ru, rv = ru - nu, rv - nv
        if self.solid is not None:
            free_u, free_v = self.grid.free(u)
            ru, rv = ru - free_u * self.solid[0] * u, rv - free_v * self.solid[1] * v
        return ru, rv

    def project(
        self, u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"]
    ) -> tuple[Float[Tensor, "*B H Nx"], Float[Tensor, "*B Ny W"], Float[Tensor, "*B H W"]]:
        """(u, v) without their divergence, and phi: what was taken away is grad phi."""
        phi = poisson(ops.divergence(u, v, self.grid), self.grid)
        gx, gy = ops.gradient(phi, self.grid)
        return u - gx, v - gy, phi

    def pressure(
        self, u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"]
    ) -> Float[Tensor, "... H W"]:
        """The pressure that keeps a flow free of divergence."""
        return poisson(ops.divergence(*self.tendency(u, v), self.grid), self.grid)

    def start(self, u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"]) -> StaggeredState:
        """The state of a velocity: projected, with its pressure as if there were no obstacle.

        The obstacle's own is impulsive at a start; the first steps find it.
        """
        u, v, _ = self.project(u, v)
        pressure = replace(self, solid=None).pressure(u, v)
        return StaggeredState(u, v, pressure, u.new_zeros(()))

    def observed_pressure(self, state: StaggeredState, dt: float) -> Float[Tensor, "*B H W"]:
        """Pressure of a state, second order in dt; the state's own lags behind: first order."""
        force = self.obstacle_force(state, dt)
        if force is None:
            return self.pressure(state.u, state.v)
        ru, rv = replace(self, solid=None).tendency(state.u, state.v)
        return poisson(ops.divergence(ru - force[0], rv - force[1], self.grid), self.grid)

    # --- time ---------------------------------------------------------------------------------

    def obstacle_force(self, state: StaggeredState, dt: float) -> Faces | None:
        """Force that the flow exerts on the obstacle, per volume, on the faces.

        What the implicit obstacle term takes from the momentum in a step of size dt; in a steady
        flow it is chi u whatever dt is.
        """
        if self.solid is None:
            return None
        u, v, p, _ = state
        free_u, free_v = self.grid.free(u)
        other = replace(self, solid=None).tendency(u, v, p)
        return tuple(
            free * chi * (w + dt * r) / (1 + dt * chi)
            for free, chi, w, r in zip((free_u, free_v), self.solid, (u, v), other, strict=True)
        )  # type: ignore[return-value]

    def step(self, state: StaggeredState, dt: float) -> StaggeredState:
        """One step: Runge-Kutta for advection, trapezoidal diffusion, projection in each stage.

        Velocity of second order in time (third for pure advection in periodic boxes), the obstacle
        implicit and of first order. Each stage solves for the increment, pressure included, so
        that a steady state does not depend on dt.
        """
        u, v, p, time = state
        grid, before = self.grid, None
        for k in range(3):
            c = STAGE[k] * dt
            now = ops.advection(u, v, grid, self.sides)
            ru, rv = (c * r for r in self.linear(u, v, p))
            ru, rv = ru - ADVECTION_NOW[k] * dt * now[0], rv - ADVECTION_NOW[k] * dt * now[1]
            if before is not None:
                ru = ru - ADVECTION_BEFORE[k] * dt * before[0]
                rv = rv - ADVECTION_BEFORE[k] * dt * before[1]
            if self.solid is not None:
                chi_u, chi_v = (c * s * f for s, f in zip(self.solid, grid.free(u), strict=True))
                ru, rv = (ru - chi_u * u) / (1 + chi_u), (rv - chi_v * v) / (1 + chi_v)
            rate = IMPLICIT[k] * dt * self.viscosity
            u = u + helmholtz(ru, rate, grid, "u")
            v = v + helmholtz(rv, rate, grid, "v")
            u, v, phi = self.project(u, v)
            p, before = p + phi / c, now
        return StaggeredState(u, v, p, time + dt)

    def integrate(
        self, state: StaggeredState, dt: float, steps: int, recompute: bool, segment: int = 1
    ) -> StaggeredState:
        """`steps` steps; with `recompute` each segment is redone in the backward pass.

        Then one state per segment is kept, and what a step computes on its way is not. Forward mode
        and `torch.func` transforms build plain graphs.
        """

        def several(u: Tensor, v: Tensor, p: Tensor, t: Tensor, count: int) -> StaggeredState:
            now = StaggeredState(u, v, p, t)
            for _ in range(count):
                now = self.step(now, dt)
            return now

        if not (recompute and torch.is_grad_enabled()) or traced():
            return several(*state, steps)
        for first in range(0, steps, segment):
            count = min(segment, steps - first)
            state = checkpoint(
                several, *state, count, use_reentrant=False, preserve_rng_state=False
            )
        return state
