"""`fluids/navier-stokes-3d`: incompressible flow in a periodic box, with a closure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.quantity import Quantity
from sfm.simulate import Observations, Parameter, Setting, Trajectory
from sfm_fluids import box
from sfm_fluids.flows import flows_3d as flows
from sfm_fluids.flows.from_sample import start_from
from sfm_fluids.periodic.pseudo_spectral import STEPPING, PseudoSpectral
from sfm_fluids.quantities import (
    DISSIPATION_RATE,
    ENSTROPHY,
    HELICITY,
    KINETIC_ENERGY,
    VELOCITY,
    VORTICITY_VECTOR,
)
from sfm_fluids.spectral.grid_3d import Grid3D, curl, energy_spectrum, inner, project
from sfm_fluids.spectral.momentum_flux_3d import momentum_tendency
from sfm_fluids.spectral.transforms_3d import to_field, to_spectrum
from sfm_fluids.stepping.stateless import Stateless
from sfm_fluids.stepping.term import Term


class FlowState3D(NamedTuple):
    """B flows at one time: spectra of the velocity (B, 3, *spectral_shape) and time ().

    The spectra are those of `grid_3d`, complex64 or complex128; the mean flow is mode 0.
    """

    velocity_hat: Tensor
    time: Tensor


class NavierStokes3D(PseudoSpectral):
    """Three-dimensional incompressible Navier-Stokes equations in a periodic box.

        du/dt + div(u u + tau) = -grad p + nu lap u - nu_h (-lap)^p u + f,   div u = 0

    solved for the velocity: Fourier modes, 2/3 dealiasing, only the modes that it keeps are stored.
    The advection term is in momentum-flux form (Basdevant 1983): eight transforms per evaluation,
    pressure by projection. The stepper treats the linear part exactly (ETDRK4: fourth order).

    Forces f, steady: "kolmogorov" A (sin(2 pi n y / length_y), 0, 0); "abc" A times the ABC flow of
    wavenumber n (a cube only); or any `force` (3, D, H, W), times A; its divergent part is dropped.

    Any consistent units; box units are length 2 pi and velocity 1, and then Re = 1 / nu.

    Good values: the Taylor-Green vortex at Re = 100 (nu = 0.01) is resolved by 32^3 points with
    dt = 0.05; at Re = 1600 it takes 256^3 (dt = 0.01), and 32^3 or 64^3 need a closure:
    `fluids/les-3d`. Keep max|u| dt / dx below 1, or
    take `stepper="adaptive"`.

    Closure: a module `(velocity (B, 3, D, H, W), spacing) -> tau (B, 3, 3, D, H, W)`.

    Limits: periodic boundaries only; a closure needs cubic cells.
    """

    part: ClassVar[str] = "fluids/navier-stokes-3d"
    summary: ClassVar[str] = "incompressible 3-D flow, periodic, pseudo-spectral, with closure"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 0.01, 0.0, math.inf, "nu; 1e-4 to 1e-1"),
        Parameter("hyperviscosity", "1", 0.0, 0.0, math.inf, "nu_h; 0 for none"),
        Parameter("forcing_amplitude", "1", 1.0, summary="A, of the force"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("grid", 32, summary="grid points on each side, at least 4"),
        Setting("depth", 0, summary="grid points along z; 0: as `grid`"),
        Setting("height", 0, summary="grid points along y; 0: as `grid`"),
        Setting("width", 0, summary="grid points along x; 0: as `grid`"),
        Setting("length_x", 2 * math.pi, summary="box length along x"),
        Setting("length_y", 2 * math.pi, summary="box length along y"),
        Setting("length_z", 2 * math.pi, summary="box length along z"),
        Setting("hyperviscosity_power", 2, summary="p, 2 for the bilaplacian; at least 2"),
        Setting("forcing", "none", ("none", "kolmogorov", "abc"), summary="steady force"),
        Setting("forcing_wavenumber", 1, summary="n, periods of the force in the box"),
        Setting(
            "initial", "taylor-green", ("taylor-green", "abc", "random", "rest"), summary="flow"
        ),
        Setting("peak_wavenumber", 3.0, summary="of the random flow's spectrum, in periods"),
        Setting("seed", 0, summary="of the random flow"),
        Setting("mean_x", 0.0, summary="mean velocity of the initial flow along x"),
        Setting("mean_y", 0.0, summary="mean velocity of the initial flow along y"),
        Setting("mean_z", 0.0, summary="mean velocity of the initial flow along z"),
        *STEPPING,
    )
    observables: ClassVar[tuple[Quantity, ...]] = (
        VELOCITY,
        VORTICITY_VECTOR,
        KINETIC_ENERGY,
        ENSTROPHY,
        HELICITY,
        DISSIPATION_RATE,
    )
    closure_quantity: ClassVar[str | None] = "sgs_stress"
    citations: ClassVar[tuple[str, ...]] = (
        "https://doi.org/10.1016/0021-9991(83)90064-5",  # Basdevant 1983
        "https://doi.org/10.1006/jcph.2002.6995",  # Cox and Matthews 2002
    )
    default_steps: ClassVar[int] = 200
    writes_to: ClassVar[tuple[str, ...] | None] = (".h5", ".hdf5")

    viscosity: Tensor
    hyperviscosity: Tensor
    forcing_amplitude: Tensor
    force_hat: Tensor | None
    grid: Grid3D
    depth: int
    height: int
    width: int
    length_x: float
    length_y: float
    length_z: float
    hyperviscosity_power: int
    forcing: str
    forcing_wavenumber: int
    initial: str
    peak_wavenumber: float
    seed: int
    mean_x: float
    mean_y: float
    mean_z: float

    def __init__(
        self,
        *,
        closure: nn.Module | None = None,
        force: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """`force` (3, D, H, W) or (B, 3, D, H, W) takes the place of the setting `forcing`.

        Raises:
            InputError: a value out of bounds, cells that the closure cannot use, two forces.
        """
        super().__init__(closure=closure, dtype=dtype, **values)
        points = int(self.grid)  # type: ignore[call-overload]
        self.depth, self.height = self.depth or points, self.height or points
        self.width = self.width or points
        self.grid = Grid3D(
            self.depth, self.height, self.width, self.length_z, self.length_y, self.length_x
        )
        if self.closure is not None:
            _ = self.grid.isotropic_spacing
        if self.hyperviscosity_power < 2:
            raise InputError(
                f"{self.part}: hyperviscosity_power={self.hyperviscosity_power} must be at least 2;"
                " for 1 there is the viscosity"
            )
        if not self.peak_wavenumber > 0:
            raise InputError(f"{self.part}: peak_wavenumber={self.peak_wavenumber} is not positive")
        complex_type = torch.complex64 if dtype == torch.float32 else torch.complex128
        hat = self._force(force)
        self.register_buffer("force_hat", None if hat is None else hat.to(complex_type))

    def _force(self, force: Tensor | None) -> Tensor | None:
        """Spectra of the force of amplitude 1."""
        if force is not None:
            if self.forcing != "none":
                raise InputError(f"{self.part}: give force or forcing='{self.forcing}', not both")
            self._check_field(force, "force")
            return project(to_spectrum(force.double(), self.grid), self.grid)
        if self.forcing == "kolmogorov":
            return flows.kolmogorov(self.grid, self.forcing_wavenumber)
        if self.forcing == "abc":
            return flows.abc(self.grid, self.forcing_wavenumber)
        return None

    def _check_field(self, field: Tensor, what: str) -> None:
        if field.ndim < 4 or field.shape[-4] != 3:
            raise InputError(f"{self.part}: {what} {tuple(field.shape)} is not (B, 3, D, H, W)")
        if tuple(field.shape[-3:]) != self.grid.shape:
            depth, height, width = field.shape[-3:]
            raise InputError(
                f"{self.part}: the {what} has {depth} x {height} x {width} points, the simulator "
                f"{self.depth} x {self.height} x {self.width}; set depth={depth}, height={height} "
                f"and width={width}"
            )

    # --- states -------------------------------------------------------------------------------

    @classmethod
    def stated(cls, sample: Sample, **values: Any) -> dict[str, Any]:
        """Points, box and parameters of a sample."""
        return box.stated(cls, sample, "velocity", 3, values)

    def state(self, sample: Sample | None = None) -> FlowState3D:
        """The flow of a sample with a field `velocity` (3, D, H, W), or the setting `initial`.

        What the sample states and the run does not use, and the share of the velocity's energy
        that is divergent or beyond the 2/3 rule, is said in an `InputWarning`.

        Raises:
            InputError: the sample has no such field, another grid, another box, or walls.
        """
        if sample is not None:
            return start_from(self, sample, 3, self.from_velocity)
        if self.initial == "random":
            # energy 1/2 in all, whatever the box
            unit = 2 * math.pi / max(self.grid.lengths)
            law = flows.rogallo(self.peak_wavenumber)
            hat = flows.random_velocity(self.grid, lambda k: 0.5 * law(k / unit) / unit, self.seed)
        elif self.initial == "abc":
            hat = flows.abc(self.grid)
        elif self.initial == "taylor-green":
            hat = flows.taylor_green(self.grid)
        else:
            hat = torch.zeros(3, *self.grid.spectral_shape, dtype=torch.complex128)
        mean = (self.mean_x, self.mean_y, self.mean_z)
        hat[:, 0, 0, 0] += torch.tensor(mean, dtype=torch.float64)
        return self._state(hat[None])

    def from_velocity(self, velocity: Float[Tensor, " ..."]) -> FlowState3D:
        """The state of a velocity (3, D, H, W) or (B, 3, D, H, W).

        Its divergent part and the modes beyond the 2/3 rule are dropped.
        """
        self._check_field(velocity, "velocity")
        velocity = velocity if velocity.ndim > 4 else velocity[None]
        return self._state(project(to_spectrum(velocity.to(self.viscosity), self.grid), self.grid))

    def _state(self, hat: Tensor) -> FlowState3D:
        dtype = torch.complex64 if self.viscosity.dtype == torch.float32 else torch.complex128
        hat = hat.to(self.viscosity.device, dtype)
        return FlowState3D(hat, hat.real.new_zeros(()))

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[NavierStokes3D, FlowState3D]:
        """A forced random flow on 8^3 points."""
        case = {"grid": 8, "dt": 0.1, "initial": "random", "peak_wavenumber": 1.5}
        simulator = cls(**{**case, "forcing": "abc", "hyperviscosity": 1e-3, **values})
        return simulator, simulator.state()

    # --- dynamics -----------------------------------------------------------------------------

    def linear_operator(self) -> Float[Tensor, "... kz ky kx"]:
        """-(nu k^2 + nu_h k^2p), or with a batch axis for parameters of shape (B,)."""
        k2 = self.grid.square_wavenumber(device=self.viscosity.device)
        nu, hyper = (p.double() for p in (self.viscosity, self.hyperviscosity))
        nu, hyper = (p.reshape(-1, 1, 1, 1, 1) if p.ndim else p for p in (nu, hyper))
        return -(nu * k2 + hyper * k2**self.hyperviscosity_power)

    def nonlinear(self) -> Term:
        """Advection, subgrid stress and force."""
        grid = self.grid
        force: tuple[Tensor, ...] = ()
        if self.force_hat is not None:
            amplitude = self.forcing_amplitude
            amplitude = amplitude.reshape(-1, 1, 1, 1, 1) if amplitude.ndim else amplitude
            force = (amplitude * self.force_hat,)

        closure = self._closure()
        tensors = force if closure is None else (*force, *closure.tensors)

        def tendency(hat: Tensor, time: float, *tensors: Tensor) -> Tensor:
            if closure is None:
                change = momentum_tendency(hat, grid)
            else:
                given = tensors[len(force) :]
                change = momentum_tendency(hat, grid, lambda u, h: closure.call((u, h), given))
            return change + tensors[0] if force else change

        return Term(tendency, tensors)

    def courant_rate(self, u: Complex[Tensor, "*B 3 kz ky kx"]) -> float:
        """Largest speed over cell size, for the adaptive stepper and the warnings."""
        peak = to_field(u, self.grid).abs().amax((-3, -2, -1)).reshape(-1, 3).amax(0)
        return max(float(v) / d for v, d in zip(peak, reversed(self.grid.spacing), strict=True))

    def _closure(self) -> Stateless | None:
        return None if self.closure is None else Stateless(self.closure)

    def forward(self, state: FlowState3D, steps: int = 1) -> FlowState3D:
        """The flow `steps * dt` later."""
        hat = self.integrate(state.velocity_hat, steps)
        return FlowState3D(hat, state.time + steps * self.dt)

    # --- what is seen -------------------------------------------------------------------------

    def velocity(self, state: FlowState3D) -> Float[Tensor, "B 3 D H W"]:
        """(B, 3, D, H, W)."""
        return to_field(state.velocity_hat, self.grid)

    def spectrum(self, state: FlowState3D) -> tuple[Float[Tensor, " n"], Float[Tensor, "B n"]]:
        """(k (n,), E (B, n)): energy in spherical shells."""
        return energy_spectrum(state.velocity_hat, self.grid)

    def observe(self, state: FlowState3D) -> dict[str, Shaped[Tensor, " ..."]]:
        """Velocity and vorticity (B, 3, D, H, W), and means over the box (B,).

        These are energy |u|^2 / 2, enstrophy |omega|^2 / 2, helicity u . omega, and the rate at
        which viscosity and hyperviscosity turn energy into heat.
        """
        hat, grid = state.velocity_hat, self.grid
        omega = curl(hat, grid)
        loss = -self.linear_operator().to(hat.real.dtype)
        return {
            "velocity": to_field(hat, grid),
            "vorticity_vector": to_field(omega, grid),
            "mean_kinetic_energy": 0.5 * inner(hat, hat, grid),
            "enstrophy": 0.5 * inner(omega, omega, grid),
            "helicity": inner(hat, omega, grid),
            "dissipation_rate": inner(hat, loss * hat, grid),
        }

    def warnings(self, state: FlowState3D) -> tuple[str, ...]:
        """Courant number above 1 and energy piled up at the cut-off.

        Raises:
            RunError: the flow is no longer finite.
        """
        hat = state.velocity_hat.detach()
        if not torch.isfinite(torch.view_as_real(hat)).all():
            raise RunError(f"{self.part}: the flow blew up; take a smaller dt or a finer grid")
        lines = []
        courant = self.courant_rate(hat) * self.dt
        if courant > 1 and self.stepper != "adaptive":
            lines.append(f"Courant number {courant:.2f} is above 1: take a smaller dt")
        k, energy = energy_spectrum(hat, self.grid)
        cuts = zip(self.grid.cutoff, self.grid.lengths, strict=True)
        cut = int((k <= min(2 * math.pi * c / n for c, n in cuts) * (1 + 1e-9)).sum()) - 1
        crowded = bool((energy[..., cut] > 1e-3 * energy.amax(-1)).any())
        if crowded and self._closure() is None:
            lines.append("energy at the smallest scales: under-resolved, refine or add a closure")
        return tuple(lines)

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """|omega| in the plane z = 0 at three times with the history; .gif, .mp4 are animations."""
        from sfm_fluids.figures.flow_3d import draw

        draw(trajectory, self.grid, Path(path))

    def write(self, trajectory: Trajectory, path: Path) -> None:
        """HDF5 (`.h5`): `velocity` (T, 3, D, H, W), `times` (T,), box lengths as attributes."""
        from sfm_fluids.files.writing import write_volume

        write_volume(trajectory, self.grid, Path(path))

    def read_observations(self, path: Path) -> Observations:
        """Snapshots for `sfm fit`: see `sfm_fluids.periodic.observations.read_box`."""
        from sfm_fluids.periodic.observations import read_box

        return read_box(self, Path(path))

    def predict_observations(
        self, observations: Observations
    ) -> dict[str, Float[Tensor, "T 3 D H W"]]:
        """Velocity at the observed times, (T, 3, D, H, W)."""
        from sfm_fluids.periodic.observations import at_observed_steps

        start = observations.state
        return at_observed_steps(self, start, observations, lambda state: self.velocity(state)[0])
