"""`fluids/finite-volume-2d`: the periodic box with second-order finite volumes, a baseline."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate import Parameter, Setting
from sfm.simulate.function_transforms import traced
from sfm_fluids.flows import flows_2d
from sfm_fluids.flows.from_sample import start_from
from sfm_fluids.parameters import check_one_value
from sfm_fluids.periodic.plane_flow import PlaneFlow
from sfm_fluids.quantities import ENSTROPHY, KINETIC_ENERGY, VELOCITY, VORTICITY
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.staggered import grid as staggered
from sfm_fluids.staggered import operators as ops
from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.fast_solver import poisson
from sfm_fluids.staggered.grid import Sides, StaggeredGrid
from sfm_fluids.staggered.interpolation import Linear, VanLeer, advection, push
from sfm_fluids.staggered.transfer import faces_from_points
from sfm_fluids.stepping.checkpoints import CHECKPOINTS, check_steps

# Shu and Osher, J. Comput. Phys. 77, 439 (1988): u <- a u_n + (1 - a) (u + dt F(u)), for each stage
STAGES = {"euler": (0.0,), "rk3": (0.0, 0.75, 1 / 3)}


class FaceState(NamedTuple):
    """B flows at one time: u (B, H, W) on x-faces, v (B, H, W) on y-faces, time ()."""

    u: Tensor
    v: Tensor
    time: Tensor


class FiniteVolume2D(PlaneFlow):
    """Two-dimensional incompressible Navier-Stokes equations on a periodic rectangle.

        du/dt + div(u u) = -grad p + nu lap u - alpha u + f,   div u = 0
        f = (A sin(2 pi n y / length_y), 0)

    with finite volumes of second order on a staggered grid: the equation, parameters and units of
    `fluids/navier-stokes-2d` by the method of general flow solvers, as its baseline. Advection by
    central means (conserves energy) or upwind with van Leer's limiter, explicit; the pressure by
    FFT with the discrete operator's eigenvalues, so that the divergence is zero to rounding. Steps
    by Shu and Osher's third-order Runge-Kutta method or by forward Euler (first order; with van
    Leer's Lax-Wendroff correction of second order where advection rules).

    Good values: nu = 1e-3, alpha = 0.1, A = 1, n = 4 on 256^2 cells, dt = 0.004. Keep
    (max|u| / dx + max|v| / dy) dt below 0.5 with Euler and 1 with rk3, and 4 nu dt / dx^2 below 1;
    `sfm simulate` warns. Forward Euler with central advection grows slowly where nu is small.

    Args:
        interpolation: module (u (B, H, W), v (B, H, W), (dy, dx)) ->
            `sfm_fluids.staggered.interpolation.FaceValues`, the advected velocities (learned
            interpolation); replaces the setting `advection`.
        correction: module (u, v (B, H, W), (dy, dx)) -> the stress p, q (B, H, W) of
            `sfm_fluids.staggered.interpolation.push`, evaluated once a step (learned correction,
            such as `sfm_fluids.learned.face_stress.FaceStress`).
        hold: steps through which a correction is kept, counted from the start of each call; it
            varies more slowly than short waves need small steps. Recomputed segments of the
            backward pass are as many times longer.

    Limits: periodic; no closure of the foundation model: for one use `fluids/navier-stokes-2d`.

    Source: Harlow and Welch, Phys. Fluids 8, 2182 (1965); D. Kochkov et al., PNAS 118,
    e2101784118 (2021) for the baseline; van Leer, J. Comput. Phys. 14, 361 (1974).
    """

    part: ClassVar[str] = "fluids/finite-volume-2d"
    summary: ClassVar[str] = "incompressible 2-D flow, periodic, second-order finite volumes"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 1e-3, 0.0, math.inf, "nu; 1e-4 to 1e-1"),
        Parameter("drag", "1", 0.1, 0.0, math.inf, "alpha, linear drag; 0 to 1"),
        Parameter("forcing_amplitude", "1", 1.0, summary="A, of the Kolmogorov force"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("height", 64, summary="cells along y, at least 4"),
        Setting("width", 64, summary="cells along x, at least 4"),
        Setting("length_x", 2 * math.pi, summary="box length along x"),
        Setting("length_y", 2 * math.pi, summary="box length along y"),
        Setting("dt", 0.01, summary="time step"),
        Setting("advection", "van-leer", ("van-leer", "central"), summary="face values"),
        Setting("stepper", "rk3", tuple(STAGES), summary="method in time"),
        Setting("forcing_wavenumber", 4, summary="n, periods of the force in the box; 0 for none"),
        Setting("initial", "random", flows_2d.INITIAL, summary="initial flow"),
        Setting("seed", 0, summary="of the random initial flow"),
        *CHECKPOINTS,
    )
    observables = (VELOCITY, VORTICITY, KINETIC_ENERGY, ENSTROPHY)
    citations = (
        "https://doi.org/10.1063/1.1761178",
        "https://doi.org/10.1073/pnas.2101784118",
    )
    default_steps: ClassVar[int] = 500
    order: ClassVar[tuple[str, int] | None] = ("dt", 3)

    viscosity: Tensor
    drag: Tensor
    forcing_amplitude: Tensor
    force_profile: Tensor
    height: int
    width: int
    length_x: float
    length_y: float
    dt: float
    advection: str
    stepper: str
    forcing_wavenumber: int
    initial: str
    seed: int
    recompute: bool
    segment: int

    def __init__(
        self,
        *,
        interpolation: nn.Module | None = None,
        correction: nn.Module | None = None,
        hold: int = 1,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """See the class.

        Raises:
            InputError: a value out of bounds, a force that the grid does not resolve, both an
                interpolation and an advection scheme, or a hold without a correction.
        """
        super().__init__(dtype=dtype, **values)
        check_one_value(self)
        check_steps(self)
        if interpolation is not None and "advection" in values:
            raise InputError(f"{self.part}: give an interpolation or advection=..., not both")
        if hold < 1 or (hold > 1 and correction is None):
            raise InputError(f"{self.part}: hold={hold} must be at least 1, and needs a correction")
        if not 0 <= self.forcing_wavenumber <= self.height // 4:
            raise InputError(
                f"{self.part}: forcing_wavenumber={self.forcing_wavenumber} is not resolved: "
                f"{self.height} cells take 0 to {self.height // 4}"
            )
        self.grid = StaggeredGrid(
            Axis(self.width, self.length_x, "periodic"),
            Axis(self.height, self.length_y, "periodic"),
        )
        self.spacing = (self.length_y / self.height, self.length_x / self.width)
        if interpolation is None:
            reach = self.dt if self.stepper == "euler" else 0.0
            interpolation = Linear() if self.advection == "central" else VanLeer(reach)
        self.interpolation, self.correction, self.hold = interpolation, correction, hold
        y = self.grid.y.metrics().centres
        q = 2 * math.pi * self.forcing_wavenumber / self.length_y
        self.register_buffer("force_profile", torch.sin(q * y)[:, None].to(dtype))

    # --- states -------------------------------------------------------------------------------

    @property
    def points(self) -> spectral.Grid:
        """The points of `fluids/navier-stokes-2d` of as many points: this grid's corners."""
        return spectral.Grid(self.height, self.width, self.length_y, self.length_x)

    def state(self, sample: Sample | None = None) -> FaceState:
        """The flow of a sample with a field `velocity` (2, H, W), or the setting `initial`.

        The same flows as those of `fluids/navier-stokes-2d`. What the sample states and the run
        does not use, and the divergent share of the velocity's energy, is said in an
        `InputWarning`.

        Raises:
            InputError: the sample has no such field, another grid, another box, or walls.
        """
        if sample is not None:
            return start_from(self, sample, 2, self.from_velocity, truncated=False)
        points = self.points
        omega = flows_2d.initial(self.initial, points, self.seed)
        return self.from_velocity(spectral.velocity(omega, points))

    def from_velocity(self, velocity: Float[Tensor, " ..."]) -> FaceState:
        """The state of a velocity (2, H, W) or (B, 2, H, W) at the points (i dx, j dy).

        It is moved to the faces in Fourier space and made free of (discrete) divergence.

        Raises:
            InputError: another shape.
        """
        u, v = self._project(*faces_from_points(self._batch_of(velocity)))
        return FaceState(u, v, u.new_zeros(()))

    def restarted(
        self, state: FaceState, vorticity: Float[Tensor, "H W"], mean: Float[Tensor, " 2"]
    ) -> FaceState:
        """The flow of another vorticity (H, W) at the corners and mean flow (2,)."""
        return self.from_velocity(spectral.velocity(vorticity, self.points, mean))

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[FiniteVolume2D, FaceState]:
        """A forced random flow on 12 x 10 cells, central: the limiter is not smooth."""
        case = {"height": 12, "width": 10, "dt": 0.1, "viscosity": 0.01, "advection": "central"}
        simulator = cls(**{**case, "forcing_wavenumber": 2, **values})
        return simulator, simulator.state()

    # --- dynamics -----------------------------------------------------------------------------

    def _project(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        gx, gy = ops.gradient(poisson(ops.divergence(u, v, self.grid), self.grid), self.grid)
        return u - gx, v - gy

    def forward(self, state: FaceState, steps: int = 1) -> FaceState:
        """The flow `steps * dt` later."""
        dt, stages, grid = self.dt, STAGES[self.stepper], self.grid
        interpolation, correction, spacing = self.interpolation, self.correction, self.spacing
        hold = self.hold

        def several(
            u: Tensor, v: Tensor, nu: Tensor, alpha: Tensor, force: Tensor, count: int
        ) -> tuple[Tensor, Tensor]:
            fu, fv = force, None
            for number in range(count):
                u0, v0 = u, v
                if correction is not None and number % hold == 0:
                    p, q = correction(u, v, spacing)
                    pu, fv = push(p, q, spacing)
                    fu = force + pu
                for keep in stages:
                    au, av = advection(u, v, spacing, interpolation)
                    du, dv = ops.diffusion(u, v, grid, Sides())
                    ru = nu * du - au - alpha * u + fu
                    rv = nu * dv - av - alpha * v
                    rv = rv if fv is None else rv + fv
                    u, v = u + dt * ru, v + dt * rv
                    if keep:
                        u, v = u + keep * (u0 - u), v + keep * (v0 - v)
                    u, v = self._project(u, v)
            return u, v

        fixed = (self.viscosity, self.drag, self.forcing_amplitude * self.force_profile)
        if not self.forcing_wavenumber:
            fixed = (*fixed[:2], torch.zeros_like(fixed[2]))
        u, v = state.u, state.v
        if not (self.recompute and torch.is_grad_enabled()) or traced():
            u, v = several(u, v, *fixed, steps)
        else:
            segment = self.segment * hold
            for first in range(0, steps, segment):
                count = min(segment, steps - first)
                u, v = checkpoint(
                    several, u, v, *fixed, count, use_reentrant=False, preserve_rng_state=False
                )
        return FaceState(u, v, state.time + steps * dt)

    def velocity(self, state: FaceState) -> Float[Tensor, "B 2 H W"]:
        """(B, 2, H, W) at the points (i dx, j dy), by means of neighbours, second order."""
        return staggered.at_corners(state.u, state.v, self.grid)

    def observe(self, state: FaceState) -> dict[str, Shaped[Tensor, " ..."]]:
        """At the points of `fluids/navier-stokes-2d`.

        velocity (B, 2, H, W), vorticity (B, H, W), mean_kinetic_energy (B,) (of the faces, which
        central advection conserves), enstrophy (B,).
        """
        omega = staggered.vorticity(state.u, state.v, self.grid)
        return {
            "velocity": self.velocity(state),
            "vorticity": omega,
            "mean_kinetic_energy": staggered.kinetic_energy(state.u, state.v, self.grid),
            "enstrophy": 0.5 * omega.square().mean((-2, -1)),
        }

    def warnings(self, state: FaceState) -> tuple[str, ...]:
        """Steps beyond the limits of stability.

        Raises:
            RunError: the flow is no longer finite.
        """
        if not (torch.isfinite(state.u).all() and torch.isfinite(state.v).all()):
            raise RunError(f"{self.part}: the flow blew up; take a smaller dt or a finer grid")
        lines, (dy, dx) = [], self.spacing
        speeds = (float(w.detach().abs().amax()) for w in (state.u, state.v))
        courant = sum(s * self.dt / h for s, h in zip(speeds, (dx, dy), strict=True))
        limit = 0.5 if self.stepper == "euler" else 1.0
        if courant > limit:
            lines.append(f"Courant number {courant:.2f} is above {limit}: take a smaller dt")
        diffusion = 2 * float(self.viscosity.detach().max()) * self.dt * (dx**-2 + dy**-2)
        if diffusion > 1:
            lines.append(f"diffusion number {diffusion:.2f} is above 1: take a smaller dt")
        if self.stepper == "euler" and isinstance(self.interpolation, Linear):
            lines.append("forward Euler with central advection grows slowly; set stepper=rk3")
        return tuple(lines)
