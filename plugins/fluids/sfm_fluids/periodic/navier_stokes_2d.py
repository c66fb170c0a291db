"""`fluids/navier-stokes-2d`: incompressible flow on a periodic rectangle, with a closure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate import Observations, Parameter, Setting, Simulator, Through, Trajectory

from .. import ENSTROPHY, KINETIC_ENERGY, VELOCITY, VORTICITY
from ..closures.classical import Smagorinsky
from ..data.dns import random_vorticity
from . import grid as spectral
from . import vorticity as solver
from .forcing import kolmogorov_curl
from .grid import Grid


class FlowState(NamedTuple):
    """B flows at one time: vorticity (B, H, W), mean velocity (B, 2), time ()."""

    vorticity: Tensor
    mean_velocity: Tensor
    time: Tensor


class NavierStokes2D(Simulator):
    """Two-dimensional incompressible Navier-Stokes equations on a periodic rectangle.

        du/dt + u . grad u = -grad p + nu lap u - alpha u + f - div tau,   div u = 0
        f = (A sin(2 pi n y / length_y), 0)

    solved for the vorticity omega = dv/dx - du/dy: Fourier modes, 2/3 dealiasing, the advection
    term in momentum-flux form (four transforms), ETDRK4 in time (Cox and Matthews 2002; fourth
    order, exact for the linear part) in increment form with coefficients made in float64.

    Everything is in box units (length 2 pi, force amplitude 1); any consistent system will do.

    Good values: nu = 1e-3, alpha = 0.1, A = 1, n = 4 on 256^2 points with dt = 0.005 is developed
    Kolmogorov turbulence; 32^2 to 64^2 points then need a closure. Keep max|u| dt / dx below 1.

    Closure: a module `(velocity (B, 2, H, W), spacing) -> tau (B, 2, 2, H, W)`. Built in:
    `subgrid="smagorinsky"` with the parameter `smagorinsky_constant`.

    Memory: each step is redone in the backward pass (`recompute=True`), so a long rollout keeps
    one state per step.

    Limits: periodic boundaries only; the closure needs square cells; no adaptive time step.
    """

    part: ClassVar[str] = "fluids/navier-stokes-2d"
    summary: ClassVar[str] = "incompressible 2-D flow, periodic, pseudo-spectral, with closure"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 1e-3, 0.0, math.inf, "nu; 1e-4 to 1e-1"),
        Parameter("drag", "1", 0.1, 0.0, math.inf, "alpha, linear drag; 0 to 1"),
        Parameter("forcing_amplitude", "1", 1.0, summary="A, of the Kolmogorov force"),
        Parameter("smagorinsky_constant", "1", 0.17, 0.0, 10.0, "C; 0.1 to 0.2"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("height", 64, summary="grid points along y, at least 4"),
        Setting("width", 64, summary="grid points along x, at least 4"),
        Setting("length_x", 2 * math.pi, summary="box length along x"),
        Setting("length_y", 2 * math.pi, summary="box length along y"),
        Setting("dt", 0.01, summary="time step"),
        Setting("forcing_wavenumber", 4, summary="n, periods of the force in the box; 0 for none"),
        Setting("subgrid", "none", ("none", "smagorinsky"), summary="built-in closure"),
        Setting(
            "closure_every",
            "stage",
            ("stage", "step"),
            summary="evaluations of the closure; once a step is cheaper, and first order in dt",
        ),
        Setting("initial", "random", ("random", "taylor-green", "rest"), summary="initial flow"),
        Setting("seed", 0, summary="of the random initial flow"),
        Setting("recompute", True, (True, False), summary="redo steps in the backward pass"),
    )
    observables = (VELOCITY, VORTICITY, KINETIC_ENERGY, ENSTROPHY)
    closure_quantity: ClassVar[str | None] = "sgs_stress"
    citations = ("https://doi.org/10.1006/jcph.2002.6995",)
    default_steps: ClassVar[int] = 500
    order: ClassVar[tuple[str, int] | None] = ("dt", 4)
    batched: ClassVar[bool] = True

    viscosity: Tensor
    drag: Tensor
    forcing_amplitude: Tensor
    smagorinsky_constant: Tensor
    force_curl: Tensor | None
    height: int
    width: int
    length_x: float
    length_y: float
    dt: float
    forcing_wavenumber: int
    subgrid: str
    closure_every: str
    initial: str
    seed: int
    recompute: bool

    def __init__(
        self,
        *,
        closure: nn.Module | None = None,
        force_curl: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """`force_curl` (H, W) or (B, H, W) replaces the curl of the Kolmogorov force of A = 1.

        Raises:
            InputError: a value out of bounds, or two closures at once.
        """
        super().__init__(closure=closure, dtype=dtype, **values)
        if not self.dt > 0:
            raise InputError(f"{self.part}: dt={self.dt} must be positive")
        if self.closure is not None and self.subgrid != "none":
            raise InputError(f"{self.part}: give a closure or subgrid='{self.subgrid}', not both")
        self.grid = Grid(self.height, self.width, self.length_y, self.length_x)
        if self.closure is not None or self.subgrid != "none":
            _ = self.grid.isotropic_spacing
        if not 0 <= self.forcing_wavenumber <= (self.height - 1) // 3:
            raise InputError(
                f"{self.part}: forcing_wavenumber={self.forcing_wavenumber} is not resolved: "
                f"{self.height} points keep 0 to {(self.height - 1) // 3}"
            )
        if force_curl is None and self.forcing_wavenumber:
            force_curl = kolmogorov_curl(self.grid, self.forcing_wavenumber)
        if force_curl is not None and tuple(force_curl.shape[-2:]) != self.grid.shape:
            raise InputError(
                f"{self.part}: force_curl has shape {tuple(force_curl.shape)}, "
                f"the grid {self.grid.shape}"
            )
        self.register_buffer("force_curl", None if force_curl is None else force_curl.to(dtype))

    # --- states -------------------------------------------------------------------------------

    def state(self, sample: Sample | None = None) -> FlowState:
        """The flow of a sample with a field `velocity` (2, H, W), or the setting `initial`.

        Raises:
            InputError: the sample has no such field or another grid.
        """
        if sample is not None:
            if "velocity" not in sample.fields:
                raise InputError(f"{sample.id}: no field 'velocity', which {self.part} starts from")
            return self.from_velocity(torch.from_numpy(np.array(sample.fields["velocity"])))
        x, y = self.grid.coordinates()
        if self.initial == "random":
            omega = random_vorticity(self.grid, 3.0, 1.0, self.seed)
        elif self.initial == "taylor-green":
            kx, ky = 2 * math.pi / self.length_x, 2 * math.pi / self.length_y
            omega = -(kx**2 + ky**2) / ky * torch.cos(kx * x) * torch.cos(ky * y)
        else:
            omega = torch.zeros_like(x)
        return self._make(omega[None], omega.new_zeros(1, 2))

    def from_velocity(self, velocity: Tensor) -> FlowState:
        """The state of a velocity (2, H, W) or (B, 2, H, W); its divergent part is dropped."""
        if velocity.ndim == 3:
            velocity = velocity[None]
        if velocity.ndim != 4 or velocity.shape[1] != 2:
            raise InputError(f"{self.part}: velocity {tuple(velocity.shape)} is not (B, 2, H, W)")
        if tuple(velocity.shape[2:]) != self.grid.shape:
            height, width = velocity.shape[2:]
            raise InputError(
                f"{self.part}: the velocity has {height} x {width} points, the simulator "
                f"{self.height} x {self.width}; set height={height} and width={width}"
            )
        velocity = velocity.to(self.viscosity)
        return self._make(spectral.vorticity(velocity, self.grid), velocity.mean((-2, -1)))

    def _make(self, omega: Tensor, mean: Tensor) -> FlowState:
        """A state with the modes that the 2/3 rule keeps."""
        omega, mean = omega.to(self.viscosity), mean.to(self.viscosity)
        omega = solver.to_field(solver.to_spectrum(omega, self.grid), self.grid)
        return FlowState(omega, mean, mean.new_zeros(()))

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[NavierStokes2D, FlowState]:
        """A forced random flow on 16 x 16 points with the Smagorinsky closure."""
        case = {"height": 16, "width": 16, "dt": 0.05, "viscosity": 0.01, "subgrid": "smagorinsky"}
        simulator = cls(**{**case, **values})
        return simulator, simulator.state()

    @classmethod
    def through(cls, **options: Any) -> Through:
        """Train a closure through N steps: see `sfm_fluids.evaluation.a_posteriori.Rollouts`."""
        from ..evaluation.a_posteriori import Rollouts

        return Rollouts(**options)

    # --- dynamics -----------------------------------------------------------------------------

    def _closure(self) -> nn.Module | None:
        if self.subgrid == "smagorinsky":
            return Smagorinsky(self.smagorinsky_constant)
        return self.closure

    def forward(self, state: FlowState, steps: int = 1) -> FlowState:
        """The flow `steps * dt` later."""
        forcing_hat = None
        if self.force_curl is not None:
            forcing_hat = self.forcing_amplitude * solver.to_spectrum(self.force_curl, self.grid)
        hat, mean = solver.integrate(
            solver.to_spectrum(state.vorticity, self.grid),
            state.mean_velocity,
            grid=self.grid,
            viscosity=self.viscosity,
            drag=self.drag,
            forcing_hat=forcing_hat,
            dt=self.dt,
            steps=steps,
            closure=self._closure(),
            hold=self.closure_every == "step",
            recompute=self.recompute,
        )
        return FlowState(solver.to_field(hat, self.grid), mean, state.time + steps * self.dt)

    def velocity(self, state: FlowState) -> Tensor:
        """(B, 2, H, W)."""
        return spectral.velocity(state.vorticity, self.grid, state.mean_velocity)

    def observe(self, state: FlowState) -> dict[str, Tensor]:
        """velocity (B, 2, H, W), vorticity (B, H, W), mean_kinetic_energy (B,), enstrophy (B,)."""
        velocity = self.velocity(state)
        return {
            "velocity": velocity,
            "vorticity": state.vorticity,
            "mean_kinetic_energy": 0.5 * velocity.square().sum(-3).mean((-2, -1)),
            "enstrophy": 0.5 * state.vorticity.square().mean((-2, -1)),
        }

    def warnings(self, state: FlowState) -> tuple[str, ...]:
        """Courant number above 1 and energy piled up at the cut-off.

        Raises:
            RunError: the flow is no longer finite.
        """
        if not torch.isfinite(state.vorticity).all():
            raise RunError(f"{self.part}: the flow blew up; take a smaller dt or a finer grid")
        found = []
        speed = float(self.velocity(state).detach().abs().amax())
        courant = speed * self.dt / min(self.grid.spacing)
        if courant > 1:
            found.append(f"Courant number {courant:.2f} is above 1: take a smaller dt")
        _, spectrum = spectral.energy_spectrum(state.vorticity.detach(), self.grid)
        cut = (min(self.height, self.width) - 1) // 3
        if bool((spectrum[:, cut] > 1e-3 * spectrum.amax(1)).any()) and self._closure() is None:
            found.append("energy at the smallest scales: under-resolved, refine or add a closure")
        return tuple(found)

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Vorticity at three times with the energy's history; an animation if `path` is a .gif."""
        from ..plots import draw

        draw(trajectory, self.grid, Path(path))

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """`.h5`: `velocity` (T, 2, H, W), `times`, box lengths. `.hdf5`: the format of The Well."""
        from ..data.observations import write_flow

        scalars = {p.name: getattr(self, p.name).item() for p in self.parameters_spec}
        write_flow(trajectory, self.grid, Path(path), name=self.part, scalars=scalars)

    def read_observations(self, path: Path) -> Observations:
        """Snapshots for `sfm fit`: see `sfm_fluids.data.observations.read`."""
        from ..data.observations import read

        return read(self, Path(path))

    def predict_observations(self, observations: Observations) -> dict[str, Tensor]:
        """Velocity at the observed times, (T, 2, H, W)."""
        state, found, done = observations.state, [], 0
        for step in observations.options["steps"]:
            state = self(state, step - done)
            done = step
            found.append(self.velocity(state)[0])
        return {"velocity": torch.stack(found)}
