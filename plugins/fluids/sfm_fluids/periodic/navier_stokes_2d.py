"""`fluids/navier-stokes-2d`: incompressible flow on a periodic rectangle, with a closure."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate import Parameter, Setting, Through
from sfm_fluids.closures.built_in import built_in
from sfm_fluids.flows import flows_2d
from sfm_fluids.flows.from_sample import start_from
from sfm_fluids.periodic import passive_scalars
from sfm_fluids.periodic.advection_kernels import kernels
from sfm_fluids.periodic.flow_state import FlowState, modes_of, with_modes
from sfm_fluids.periodic.pseudo_spectral import ADAPTIVE, STEPPING
from sfm_fluids.periodic.vorticity_dynamics import VorticityDynamics
from sfm_fluids.quantities import ENSTROPHY, KINETIC_ENERGY, PASSIVE_SCALAR, VELOCITY, VORTICITY
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.forcing import RingNoise, kolmogorov_curl
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.transforms_2d import SMALL
from sfm_fluids.stepping.stateless import Stateless

COMPILED_STEPPERS = ("etdrk2", "etdrk4")


class NavierStokes2D(VorticityDynamics):
    """Two-dimensional incompressible Navier-Stokes equations on a periodic rectangle.

        du/dt + u . grad u = -grad p + nu lap u - nu_h (-lap)^p u - alpha u + f - div tau
        div u = 0,    f = (A sin(2 pi n y / length_y), 0) + white noise + a module's force
        ds/dt + u . grad s = kappa lap s - u . G           for each passive scalar s

    solved for the vorticity omega = dv/dx - du/dy and the mean flow: Fourier modes, the 2/3 rule
    (modes up to index (N - 1)//3 of N points are kept on each axis: quadratic terms are free of
    aliasing), the advection term in momentum-flux form (four transforms). In time ETDRK4 by
    default (`stepper`): fourth order, exact for the linear part, in increment form with
    coefficients made in float64.

    The box is [0, length_x) x [0, length_y), 2 pi x 2 pi if not said otherwise, periodic on both
    axes, with `width` x `height` points (`grid` sets both); any aspect ratio. Everything is in box
    units (length 2 pi, force amplitude 1); any consistent system will do.

    Good values: nu = 1e-3, alpha = 0.1, A = 1, n = 4 on 256^2 points with dt = 0.005 is developed
    Kolmogorov turbulence; 32^2 to 64^2 points then need a closure. Keep max|u| dt / dx below 1, or
    take `stepper="adaptive"`.

    Forces: Kolmogorov (`forcing_wavenumber`, `forcing_amplitude`), or any steady one (the argument
    `force_curl`); white noise on a ring of wavenumbers with a given energy supply
    (`random_wavenumber`, `random_width`, `injection_rate`; of first order in dt; step n of a seed
    is always the same, resumed or not, if the time is a multiple of dt); a module `forcing`:
    (velocity (..., 2, H, W), time: float) -> force (..., 2, H, W), whose mean is dropped.

    Scalars: `scalars` of them; `scalar_diffusivity` kappa and the mean gradient G =
    (`scalar_gradient_x`, `scalar_gradient_y`) are numbers, (S,) or (B, S). Other parameters are
    numbers or (B,), one for each flow of a batch.

    Closure: a module `(velocity (..., 2, H, W), spacing) -> tau (..., 2, 2, H, W)`; needs square
    cells. Built in: `subgrid="smagorinsky"` with the parameter `smagorinsky_constant`.

    Speed: on at most 64 points along x, `kernel="compiled"` has a C compiler make the pointwise
    work at first use (CPU; etdrk2 and etdrk4 without closure, scalars, noise); the same numbers to
    rounding in 0.6 of the time.

    Memory: each step is redone in the backward pass (`recompute=True`), so a long rollout keeps
    one state per step, or one per `segment` steps; without a closure, the last steps are kept
    instead, up to 64 MiB over all graphs. Closures and forces must be deterministic.

    Limits: periodic boundaries only; closures and forces get no gradient of their buffers.

    Sources: S. A. Orszag, J. Atmos. Sci. 28, 1074 (1971), the 2/3 rule; C. Basdevant, J. Comput.
    Phys. 50, 209 (1983), fewer transforms; S. M. Cox and P. C. Matthews, J. Comput. Phys. 176, 430
    (2002), ETDRK4.
    """

    part: ClassVar[str] = "fluids/navier-stokes-2d"
    summary: ClassVar[str] = "incompressible 2-D flow, periodic, pseudo-spectral, with closure"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 1e-3, 0.0, math.inf, "nu; 1e-4 to 1e-1"),
        Parameter("drag", "1", 0.1, 0.0, math.inf, "alpha, linear drag; 0 to 1"),
        Parameter("forcing_amplitude", "1", 1.0, summary="A, of the Kolmogorov force"),
        Parameter("smagorinsky_constant", "1", 0.17, 0.0, 10.0, "C; 0.1 to 0.2"),
        Parameter("hyperviscosity", "1", 0.0, 0.0, math.inf, "nu_h; (N/3)^(-2p) times 1 to 10"),
        Parameter("injection_rate", "1", 0.1, 0.0, math.inf, "eps, energy supply of the noise"),
        *passive_scalars.PARAMETERS,
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("grid", 64, summary="grid points on each side, at least 4"),
        Setting("height", 0, summary="grid points along y; 0: as `grid`"),
        Setting("width", 0, summary="grid points along x; 0: as `grid`"),
        Setting("length_x", 2 * math.pi, summary="box length along x"),
        Setting("length_y", 2 * math.pi, summary="box length along y"),
        *STEPPING,
        Setting("forcing_wavenumber", 4, summary="n, periods of the force in the box; 0 for none"),
        Setting("random_wavenumber", 0.0, summary="ring of the noise, in 2 pi / length; 0: none"),
        Setting("random_width", 1.0, summary="half-width of the ring"),
        Setting("hyperviscosity_power", 4, summary="p of the hyperviscosity, at least 1"),
        passive_scalars.COUNT,
        Setting("subgrid", "none", ("none", "smagorinsky"), summary="built-in closure"),
        Setting(
            "closure_every",
            "stage",
            ("stage", "step"),
            summary="evaluations of the closure; once a step is cheaper, and first order in dt",
        ),
        Setting(
            "kernel",
            "torch",
            ("torch", "compiled"),
            summary="pointwise work; compiled: by a C compiler at first use, up to 64 points",
        ),
        Setting("initial", "random", flows_2d.INITIAL, summary="initial flow"),
        Setting("seed", 0, summary="of the random initial flow and of the noise"),
    )
    observables = (VELOCITY, VORTICITY, KINETIC_ENERGY, ENSTROPHY, PASSIVE_SCALAR)
    closure_quantity: ClassVar[str | None] = "sgs_stress"
    citations = (
        "https://doi.org/10.1006/jcph.2002.6995",  # Cox and Matthews 2002, ETDRK4
        "https://doi.org/10.1016/0021-9991(83)90064-5",  # Basdevant 1983, fewer transforms
    )
    default_steps: ClassVar[int] = 500

    smagorinsky_constant: Tensor
    scalar_diffusivity: Tensor
    scalar_gradient_x: Tensor
    scalar_gradient_y: Tensor
    height: int
    width: int
    length_x: float
    length_y: float
    forcing_wavenumber: int
    random_wavenumber: float
    random_width: float
    subgrid: str
    kernel: str
    initial: str
    seed: int

    def __init__(
        self,
        *,
        closure: nn.Module | None = None,
        forcing: nn.Module | None = None,
        force_curl: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """`force_curl` (H, W) or (B, H, W) replaces the curl of the Kolmogorov force of A = 1.

        Raises:
            InputError: a value out of bounds, or two closures at once.
        """
        super().__init__(closure=closure, dtype=dtype, **values)
        points = int(self.grid)  # type: ignore[call-overload]
        self.height, self.width = self.height or points, self.width or points
        self.grid = Grid(self.height, self.width, self.length_y, self.length_x)
        self.forcing = forcing
        self._check()
        curl = self._steady_curl(force_curl)
        self.register_buffer("force_curl", None if curl is None else curl.to(dtype))
        self.noise = None
        if self.random_wavenumber:
            self.noise = RingNoise(
                self.grid, self.random_wavenumber, self.random_width, self.dt, self.seed
            )

    def _check(self) -> None:
        """Refuse values that contradict each other or the grid."""
        if self.closure is not None and self.subgrid != "none":
            raise InputError(f"{self.part}: give a closure or subgrid='{self.subgrid}', not both")
        if self.closure is not None or self.subgrid != "none":
            _ = self.grid.isotropic_spacing
        for name, low in (("scalars", 0), ("hyperviscosity_power", 1), ("random_wavenumber", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{self.part}: {name}={getattr(self, name)} is below {low}")
        if self.stepper == ADAPTIVE and (self.random_wavenumber or self.closure_every == "step"):
            raise InputError(
                f"{self.part}: noise and closure_every=step need steps of equal length; take "
                "stepper=etdrk4 instead of adaptive"
            )
        if self.kernel == "compiled":
            self._check_compiled()
        if self.scalars:
            for parameter in passive_scalars.PARAMETERS:
                passive_scalars.per_scalar(self, parameter.name, self.scalars)

    def _check_compiled(self) -> None:
        """Refuse what the compiled kernel does not do."""
        acts = self.closure is not None or self.subgrid != "none" or self.forcing is not None
        reasons = {
            f"a width of {self.width}, above {SMALL}": self.width > SMALL,
            "scalars": self.scalars > 0,
            "a closure or a force that depends on the flow": acts,
            "noise": self.random_wavenumber > 0,
            f"stepper={self.stepper}": self.stepper not in COMPILED_STEPPERS,
        }
        for reason, holds in reasons.items():
            if holds:
                raise InputError(
                    f"{self.part}: kernel='compiled' does not go with {reason}; take kernel='torch'"
                )
        kernels(self.dtype)

    def _steady_curl(self, given: Tensor | None) -> Tensor | None:
        """The curl of the steady force of amplitude 1, (H, W) or (B, H, W); None for no force."""
        if not 0 <= self.forcing_wavenumber <= (self.height - 1) // 3:
            raise InputError(
                f"{self.part}: forcing_wavenumber={self.forcing_wavenumber} is not resolved: "
                f"{self.height} points keep 0 to {(self.height - 1) // 3}"
            )
        if given is None:
            n = self.forcing_wavenumber
            return kolmogorov_curl(self.grid, n) if n else None
        if tuple(given.shape[-2:]) != self.grid.shape:
            raise InputError(
                f"{self.part}: force_curl has shape {tuple(given.shape)}, "
                f"the grid {self.grid.shape}"
            )
        return given

    # --- states -------------------------------------------------------------------------------

    @classmethod
    def stated(cls, sample: Sample, **values: Any) -> dict[str, Any]:
        """Points, box, parameters and number of scalars of a sample."""
        stated = super().stated(sample, **values)
        if "passive_scalar" in sample.fields and "scalars" not in values:
            stated["scalars"] = math.prod(sample.fields["passive_scalar"].shape[:-2])
        return stated

    def state(self, sample: Sample | None = None) -> FlowState:
        """The flow of a sample with a field `velocity` (2, H, W), or the setting `initial`.

        Scalars start from the sample's field `passive_scalar` (S, H, W), or else from smooth
        random fields with a root-mean-square of 1. What the sample states and the run does not
        use, and the share of the velocity's energy that is divergent or beyond the 2/3 rule, is
        said in an `InputWarning`.

        Raises:
            InputError: the sample has no such field, another grid, another box, or walls.
        """
        if sample is None:
            omega = flows_2d.initial(self.initial, self.grid, self.seed)
            return self._state(omega[None], omega.new_zeros(1, 2), None)
        scalars = sample.fields.get("passive_scalar")
        given = None if scalars is None else torch.from_numpy(np.array(scalars))
        return start_from(
            self,
            sample,
            2,
            lambda velocity: self.from_velocity(velocity, given),
            fields=("velocity", "passive_scalar"),
        )

    def from_velocity(
        self, velocity: Float[Tensor, " ..."], scalars: Float[Tensor, " ..."] | None = None
    ) -> FlowState:
        """The state of a velocity (2, H, W) or (B, 2, H, W); its divergent part is dropped.

        scalars: (S, H, W) or (B, S, H, W); None for the default ones.
        """
        velocity = self._batch_of(velocity)
        shape = (self.scalars, *self.grid.shape)
        if scalars is not None and (not self.scalars or tuple(scalars.shape[-3:]) != shape):
            raise InputError(
                f"{self.part}: scalars {tuple(scalars.shape)} are not (B, {self.scalars}, "
                f"{self.height}, {self.width}); set scalars={scalars.shape[-3]}"
            )
        omega = spectral.vorticity(velocity, self.grid)
        return self._state(omega, velocity.mean((-2, -1)), scalars)

    def _state(self, omega: Tensor, mean: Tensor, scalars: Tensor | None) -> FlowState:
        """A state with the modes that the 2/3 rule keeps."""
        omega, mean = omega.to(self.viscosity), mean.to(self.viscosity)
        if self.scalars and scalars is None:
            scalars = passive_scalars.smooth_fields(self.grid, self.scalars, self.seed)
        if scalars is not None:
            scalars = scalars.to(omega).expand(len(omega), *scalars.shape[-3:])
        state = FlowState(omega, mean, mean.new_zeros(()), scalars)
        return with_modes(state, modes_of(state, self.grid), self.grid)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[NavierStokes2D, FlowState]:
        """A forced random flow on 16 x 16 points with the Smagorinsky closure and one scalar."""
        case = {"grid": 16, "dt": 0.05, "viscosity": 0.01, "subgrid": "smagorinsky", "scalars": 1}
        slow = {"hyperviscosity": 1e-4, "hyperviscosity_power": 2, "scalar_gradient_y": 0.5}
        simulator = cls(**{**case, **slow, **values})
        return simulator, simulator.state()

    @classmethod
    def through(cls, **options: Any) -> Through:
        """Train a closure through N steps: see `sfm_fluids.periodic.through.Rollouts`."""
        from sfm_fluids.periodic.through import Rollouts

        return Rollouts(NavierStokes2D, **options)

    def _closure(self) -> Stateless | None:
        if self.closure is not None:
            return Stateless(self.closure)
        return built_in(self.subgrid, self.smagorinsky_constant)

    # --- what is seen -------------------------------------------------------------------------

    def observe(self, state: FlowState) -> dict[str, Shaped[Tensor, " ..."]]:
        """velocity (B, 2, H, W), vorticity (B, H, W), mean_kinetic_energy (B,), enstrophy (B,).

        With scalars, passive_scalar (B, S, H, W) too.
        """
        velocity = self.velocity(state)
        observed = {
            "velocity": velocity,
            "vorticity": state.vorticity,
            "mean_kinetic_energy": 0.5 * velocity.square().sum(-3).mean((-2, -1)),
            "enstrophy": 0.5 * state.vorticity.square().mean((-2, -1)),
        }
        if state.scalars is not None:
            observed["passive_scalar"] = state.scalars
        return observed

    def warnings(self, state: FlowState) -> tuple[str, ...]:
        """Courant number above 1 and energy piled up at the cut-off.

        Raises:
            RunError: the flow is no longer finite.
        """
        if not torch.isfinite(state.vorticity).all():
            raise RunError(f"{self.part}: the flow blew up; take a smaller dt or a finer grid")
        lines = []
        speed = float(self.velocity(state).detach().abs().amax())
        courant = speed * self.dt / min(self.grid.spacing)
        if courant > 1:
            lines.append(f"Courant number {courant:.2f} is above 1: take a smaller dt")
        _, spectrum = spectral.energy_spectrum(state.vorticity.detach(), self.grid)
        cut = (min(self.height, self.width) - 1) // 3
        if bool((spectrum[:, cut] > 1e-3 * spectrum.amax(1)).any()) and self._closure() is None:
            lines.append("energy at the smallest scales: under-resolved, refine or add a closure")
        return tuple(lines)

    def written_parameters(self) -> dict[str, float]:
        """Those with one value."""
        values = {p.name: getattr(self, p.name).detach() for p in self.parameters_spec}
        return {name: float(value) for name, value in values.items() if value.numel() == 1}
