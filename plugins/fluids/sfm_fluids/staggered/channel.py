"""`fluids/channel`: flow between two walls, periodic or with inflow and outflow, with obstacles."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_fluids.quantities import (
    CHANNEL_FLOW,
    KINETIC_ENERGY,
    STREAM_FUNCTION,
    VELOCITY,
    VORTICITY,
)
from sfm_fluids.staggered import grid as staggered
from sfm_fluids.staggered import obstacle as obstacles
from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.flow import Flow, StaggeredState
from sfm_fluids.staggered.grid import Sides, StaggeredGrid
from sfm_fluids.staggered.wall_simulator import STEPPING, WallSimulator


class Channel(WallSimulator):
    """Incompressible flow between the walls y = 0 and y = length_y.

        du/dt + div(u u) = -grad p + (G, 0) + nu lap u - (s / eta) u,   div u = 0
        u = (U_bottom, 0) and (U_top, 0) on the walls

    Along x either `streamwise="periodic"`, driven by G = -dp/dx (and by the walls), or
    `streamwise="open"`: at x = 0 the inflow (U g(y), 0); at x = length_x the outflow, p = 0 and
    du/dx = dv/dx = 0. Obstacles are porous bodies of a short relaxation time eta with the solid
    fraction s (Brinkman penalisation), implicit in time.

    Staggered grid, central advection that conserves energy; Runge-Kutta (advection) and trapezoidal
    (diffusion) with a projection in each stage: second order in time, first order with an obstacle.
    `steady()` finds the steady flow by Newton's method and differentiates it implicitly.

    Units: any consistent system, density 1; forces are per depth.

    Good values: nu = 0.05, G = 0.4 on a channel of height 1 is Poiseuille flow of top speed 1 (for
    larger G / nu^2 the laminar flow is no longer stable). Obstacles need 10 cells across or more;
    eta at 1e-6 of the flow's own time or less. Keep max|u| dt / dx below 1.7.

    Args:
        inflow_profile: g at the centres of the cells along y, (H,) or (B, H), of mean 1; replaces
            the setting `inflow`. Differentiable.
        obstacle: solid fraction s of the cells, (H, W) or (B, H, W) from 0 to 1, or a module that
            maps their centres x, y (each (H, W)) to it; replaces the setting. Differentiable.

    Limits: two dimensions; obstacles are known to one cell (first order near them); vortices that
    leave through the outflow are reflected a little, and backflow there is unstable: keep it
    away from where the flow turns.

    Sources: Angot, Bruneau and Fabrie, Numer. Math. 81, 497 (1999), penalisation; Spalart, Moser
    and Rogers, J. Comput. Phys. 96, 297 (1991), stepping.
    """

    part: ClassVar[str] = "fluids/channel"
    summary: ClassVar[str] = "channel flow, periodic or open, with obstacles, staggered grid"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 0.05, 0.0, math.inf, "nu; 1e-3 to 1"),
        Parameter("pressure_gradient", "1", 0.4, summary="G = -dp/dx, of a periodic channel"),
        Parameter(
            "inflow_velocity", "1", 1.0, summary="U, mean over the inflow of an open channel"
        ),
        Parameter("bottom_velocity", "1", 0.0, summary="of the wall y = 0, along x"),
        Parameter("top_velocity", "1", 0.0, summary="of the wall y = length_y, along x"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("streamwise", "periodic", ("periodic", "open"), summary="the ends along x"),
        Setting("height", 32, summary="cells along y, at least 4"),
        Setting("width", 64, summary="cells along x, at least 4"),
        Setting("length_x", 4.0, summary="length of the channel"),
        Setting("length_y", 1.0, summary="distance of the walls"),
        Setting("stretching", 0.0, summary="along y: 0 uniform cells; to 2.5 denser at the walls"),
        Setting("inflow", "parabolic", ("parabolic", "uniform"), summary="of an open channel"),
        Setting("obstacle_shape", "none", obstacles.SHAPES, summary="built-in obstacle"),
        Setting("obstacle_x", 1.0, summary="its centre along x"),
        Setting("obstacle_y", 0.5, summary="its centre along y"),
        Setting("obstacle_size", 0.25, summary="its diameter, or side"),
        Setting("obstacle_time", 1e-6, summary="eta, relaxation time in the solid"),
        *STEPPING,
    )
    observables = (VELOCITY, VORTICITY, STREAM_FUNCTION, *CHANNEL_FLOW, KINETIC_ENERGY)
    citations = (
        "https://doi.org/10.1007/s002110050401",
        "https://doi.org/10.1016/0021-9991(91)90238-G",
    )
    default_steps: ClassVar[int] = 500

    pressure_gradient: Tensor
    inflow_velocity: Tensor
    bottom_velocity: Tensor
    top_velocity: Tensor
    inflow_profile: Tensor | None
    obstacle: Tensor | nn.Module | None
    mask_u: Tensor | None
    mask_v: Tensor | None
    streamwise: str
    height: int
    width: int
    length_x: float
    length_y: float
    stretching: float
    inflow: str
    obstacle_shape: str
    obstacle_x: float
    obstacle_y: float
    obstacle_size: float
    obstacle_time: float

    def __init__(
        self,
        *,
        inflow_profile: Tensor | None = None,
        obstacle: Tensor | nn.Module | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """See the class.

        Raises:
            InputError: a value out of bounds, of another shape, or one that has no meaning here: a
                pressure gradient in an open channel, an inflow in a periodic one.
        """
        super().__init__(dtype=dtype, **values)
        unused = ("pressure_gradient",) if self.is_open else ("inflow_velocity", "inflow")
        for name in unused:
            if name in values:
                other = "periodic" if self.is_open else "open"
                raise InputError(
                    f"{self.part}: {name} has no meaning with streamwise={self.streamwise}; "
                    f"set streamwise={other}"
                )
        if inflow_profile is not None and not self.is_open:
            raise InputError(f"{self.part}: an inflow_profile needs streamwise=open")
        if inflow_profile is not None and inflow_profile.shape[-1:] != (self.height,):
            raise InputError(
                f"{self.part}: inflow_profile has shape {tuple(inflow_profile.shape)}, "
                f"need ({self.height},), one value for each cell along y"
            )
        if obstacle is not None and self.obstacle_shape != "none":
            raise InputError(
                f"{self.part}: give an obstacle or obstacle_shape={self.obstacle_shape}, not both"
            )
        if not (self.obstacle_time > 0 and self.obstacle_size > 0):
            raise InputError(f"{self.part}: obstacle_time and obstacle_size must be positive")
        self.grid = StaggeredGrid(
            Axis(self.width, self.length_x, self.streamwise),
            Axis(self.height, self.length_y, "walls", self.stretching),
        )
        self._keep("inflow_profile", inflow_profile)
        self._keep("obstacle", obstacle)
        masks: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.obstacle_shape != "none":
            shape = obstacles.inside(
                self.obstacle_shape,
                self.obstacle_x,
                self.obstacle_y,
                self.obstacle_size,
                None if self.is_open else self.length_x,
            )
            masks = obstacles.from_shape(shape, self.grid)
            beyond = not (self.is_open or 0 <= self.obstacle_x <= self.length_x)
            if beyond or not any(bool(m.any()) for m in masks if m is not None):
                raise InputError(
                    f"{self.part}: the obstacle lies outside the channel or between the cells"
                )
        self._keep("mask_u", masks[0])
        self._keep("mask_v", masks[1])
        self._solid()

    @property
    def is_open(self) -> bool:
        return self.streamwise == "open"

    def _solid(self) -> tuple[Tensor, Tensor] | None:
        """s / eta on the faces."""
        if self.obstacle is not None:
            u, v = obstacles.from_cells(self.obstacle, self.grid, self.viscosity, self.part)
        elif self.mask_u is not None and self.mask_v is not None:
            u, v = self.mask_u, self.mask_v
        else:
            return None
        return u / self.obstacle_time, v / self.obstacle_time

    def profile(self) -> Float[Tensor, "*B H"]:
        """g, the inflow over its mean, (..., H); the parabola's means over the cells."""
        if self.inflow_profile is not None:
            return self.inflow_profile
        m = self.grid.y.metrics(self.viscosity)
        if self.inflow == "uniform":
            return torch.ones_like(m.widths)
        low, high = m.faces[:-1] / self.length_y, m.faces[1:] / self.length_y
        integral = 3 * (high**2 - low**2) - 2 * (high**3 - low**3)
        return integral * self.length_y / m.widths

    def impose(
        self, u: Float[Tensor, "*#B H Nx"], v: Float[Tensor, "*#B Ny W"]
    ) -> tuple[Float[Tensor, "... H Nx"], Float[Tensor, "... Ny W"]]:
        """u with the inflow as its first column."""
        if not self.is_open:
            return u, v
        inflow = (self.inflow_velocity * self.profile()).unsqueeze(-1)
        inflow = inflow.expand(torch.broadcast_shapes(inflow.shape, u[..., :1].shape))
        rest = u[..., 1:].expand(*inflow.shape[:-1], u.shape[-1] - 1)
        return torch.cat((inflow, rest), -1), v

    def flow(self) -> Flow:
        """The problem with the parameters of now."""
        one = self.viscosity.new_ones(1, 1)
        sides = Sides(
            self.bottom_velocity * one,
            self.top_velocity * one,
            0 * one if self.is_open else None,
            None,
        )
        force = None if self.is_open else (self.pressure_gradient * one, 0 * one)
        return Flow(self.grid, self.viscosity, sides, force, self._solid())

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Channel, StaggeredState]:
        """An open channel of 8 x 10 cells a while after the start."""
        case: dict[str, Any] = {"streamwise": "open", "height": 8, "width": 10, "length_x": 2.0}
        case |= {"viscosity": 0.1, "dt": 0.02, "top_velocity": 0.3, "stretching": 1.0}
        case |= {"inflow": "uniform"}
        simulator = cls(**{**case, **values})
        with torch.no_grad():
            start = cls(**case)
            return simulator, start(start.state(), 25)

    def observe(self, state: StaggeredState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Fields, flow rate and forces.

        velocity (B, 2, H, W) and kinematic_pressure (B, H, W) at centres (of mean zero in a
        periodic channel, without the mean gradient); vorticity and stream_function (B, H + 1, N_x)
        at corners; flow_rate, obstacle_drag, obstacle_lift, mean_kinetic_energy (B,).
        """
        u, v, grid, flow = state.u, state.v, self.grid, self.flow()
        _, vol_u, vol_v = grid.volumes(u)
        force = flow.obstacle_force(state, self.dt)
        zero = torch.zeros_like(u[..., 0, 0])
        return {
            "velocity": self.velocity(state),
            "vorticity": staggered.vorticity(u, v, grid, flow.sides),
            "stream_function": staggered.stream_function(u, grid),
            "kinematic_pressure": flow.observed_pressure(state, self.dt),
            "flow_rate": (u[..., -1] * grid.y.metrics(u).widths).sum(-1),
            "obstacle_drag": zero if force is None else (vol_u * force[0]).sum((-2, -1)),
            "obstacle_lift": zero if force is None else (vol_v * force[1]).sum((-2, -1)),
            "mean_kinetic_energy": staggered.kinetic_energy(u, v, grid),
        }
