"""`fluids/cavity`: flow in a box with a moving lid."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_fluids.quantities import (
    CAVITY_EXTREMA,
    KINETIC_ENERGY,
    STREAM_FUNCTION,
    VELOCITY,
    VORTICITY,
)
from sfm_fluids.staggered import grid as staggered
from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.extrema import centreline_extrema
from sfm_fluids.staggered.flow import Flow, StaggeredState
from sfm_fluids.staggered.grid import Sides, StaggeredGrid
from sfm_fluids.staggered.wall_simulator import STEPPING, WallSimulator


class Cavity(WallSimulator):
    """Lid-driven cavity: incompressible flow in a rectangle whose upper wall slides.

        du/dt + div(u u) = -grad p + nu lap u,   div u = 0
        u = (U g(x), 0) on the lid y = length_y,  u = 0 on the three other walls

    on a staggered grid, stretched towards the walls if wished. Central advection that conserves
    energy; in time Runge-Kutta (advection) and trapezoidal (diffusion) with a projection in each
    stage, second order; all solves are direct, by fast diagonalisation. `steady()` finds the steady
    flow by Newton's method and differentiates it implicitly.

    Units: any consistent system; the Reynolds number is U length_x / nu.

    Good values: nu = 0.01, U = 1 (Re = 100) on 64^2 cells, stretching 1; nu = 0.001 (Re = 1000) on
    112^2 cells, stretching 2, is within 0.5 % of the published extrema. Keep max|u| dt / dx below
    1.7.

    Args:
        lid_profile: g at the x-faces, (W + 1,) or (B, W + 1), or a module that maps their positions
            x (W + 1,) to such values; 1 if not given. Differentiable: the design variable of
            inverse problems.

    Limits: two dimensions; steady flows above Re of some thousands need fine grids, and none is
    stable above about 8000. In time the lid's corners and a sudden start are singular: the error
    there is of first order.

    Sources: Botella and Peyret, Comput. Fluids 27, 421 (1998) and Marchi et al., J. Braz. Soc.
    Mech. Sci. Eng. 31, 186 (2009) for the numbers; Spalart, Moser and Rogers 1991 for the stepping.
    """

    part: ClassVar[str] = "fluids/cavity"
    summary: ClassVar[str] = "lid-driven cavity, staggered grid, in time or steady by Newton"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 0.01, 0.0, math.inf, "nu; 1e-3 to 1"),
        Parameter("lid_velocity", "1", 1.0, summary="U, along x"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("height", 64, summary="cells along y, at least 4"),
        Setting("width", 64, summary="cells along x, at least 4"),
        Setting("length_x", 1.0, summary="width of the box"),
        Setting("length_y", 1.0, summary="height of the box; over length_x the aspect ratio"),
        Setting("stretching", 1.0, summary="0 uniform cells; 1 to 2.5 denser at the walls"),
        *STEPPING,
    )
    observables = (VELOCITY, VORTICITY, STREAM_FUNCTION, *CAVITY_EXTREMA, KINETIC_ENERGY)
    citations = (
        "https://doi.org/10.1016/S0045-7930(98)00002-4",
        "https://doi.org/10.1590/S1678-58782009000300004",
        "https://doi.org/10.1016/0021-9991(91)90238-G",
    )
    default_steps: ClassVar[int] = 1000

    lid_velocity: Tensor
    lid_profile: Tensor | nn.Module | None
    height: int
    width: int
    length_x: float
    length_y: float
    stretching: float

    def __init__(
        self,
        *,
        lid_profile: Tensor | nn.Module | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """See the class.

        Raises:
            InputError: a value out of bounds, or a profile of another length.
        """
        super().__init__(dtype=dtype, **values)
        self.grid = StaggeredGrid(
            Axis(self.width, self.length_x, "walls", self.stretching),
            Axis(self.height, self.length_y, "walls", self.stretching),
        )
        self._keep("lid_profile", lid_profile)
        self._lid()

    @property
    def reynolds(self) -> Float[Tensor, "*B"]:
        """U length_x / nu."""
        return self.lid_velocity.abs() * self.length_x / self.viscosity

    def _lid(self) -> Tensor:
        """Velocity of the lid at the x-faces, (..., 1, W + 1)."""
        profile = self.lid_profile
        if profile is None:
            profile = torch.ones_like(self.lid_velocity).expand(self.width + 1)
        elif isinstance(profile, nn.Module):
            profile = profile(self.grid.x.metrics(self.viscosity).faces)
        if profile.shape[-1:] != (self.width + 1,):
            raise InputError(
                f"{self.part}: lid_profile has shape {tuple(profile.shape)}, "
                f"need ({self.width + 1},): one value at each x-face, the corners included"
            )
        return self.lid_velocity * profile.unsqueeze(-2)

    def flow(self) -> Flow:
        """Walls at rest, the lid on top."""
        still = self.viscosity.new_zeros(1, 1)
        return Flow(self.grid, self.viscosity, Sides(still, self._lid(), still, still))

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Cavity, StaggeredState]:
        """A flow on 8 x 10 stretched cells a while after a smooth lid has started."""
        x = torch.linspace(0, math.pi, 11, dtype=torch.float64)
        case = {"height": 8, "width": 10, "viscosity": 0.05, "dt": 0.02, "length_y": 0.8}
        make: dict[str, Any] = {"lid_profile": x.sin().square(), **case}
        simulator = cls(**{**make, **values})
        with torch.no_grad():
            start = cls(**make)
            return simulator, start(start.state(), 25)

    def observe(self, state: StaggeredState) -> dict[str, Shaped[Tensor, " ..."]]:
        """Fields and extrema.

        velocity (B, 2, H, W) at centres; vorticity, stream_function (B, H + 1, W + 1) at corners;
        mean_kinetic_energy (B,); and on the lines through the middle of the box, between the cells
        by a parabola, centreline_u_min (B,) of u(x = 1/2, y), centreline_v_max and
        centreline_v_min (B,) of v(x, y = 1/2).
        """
        u, v, grid = state.u, state.v, self.grid
        return {
            "velocity": self.velocity(state),
            "vorticity": staggered.vorticity(u, v, grid, self.flow().sides),
            "stream_function": staggered.stream_function(u, grid),
            **centreline_extrema(u, v, grid),
            "mean_kinetic_energy": staggered.kinetic_energy(u, v, grid),
        }
