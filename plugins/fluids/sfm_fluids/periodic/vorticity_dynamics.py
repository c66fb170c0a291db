"""How a two-dimensional flow moves: vorticity and scalars as modes, in batches, step by step.

All in the units of the box.
"""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Complex, Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate.function_transforms import traced
from sfm.simulate.rollout_node import Monitor
from sfm_fluids.periodic import flow_state, passive_scalars
from sfm_fluids.periodic.flow_state import FlowState, in_chunks, modes_of, with_modes
from sfm_fluids.periodic.nonlinear_term_2d import NonlinearTerm2D, decayed
from sfm_fluids.periodic.plane_flow import PlaneFlow
from sfm_fluids.periodic.pseudo_spectral import ADAPTIVE, PseudoSpectral
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.forcing import RingNoise
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.transforms_2d import arranged, columns, to_modes, to_points
from sfm_fluids.stepping.stateless import Stateless
from sfm_fluids.stepping.term import Term


class VorticityDynamics(PlaneFlow, PseudoSpectral):
    """L and N of the vorticity equation with a mean flow, forces, a closure and scalars.

    A subclass says what they are: its parameters, forces, closure and initial states.
    """

    viscosity: Tensor
    drag: Tensor
    hyperviscosity: Tensor
    forcing_amplitude: Tensor
    injection_rate: Tensor
    force_curl: Tensor | None  # (H, W) or (B, H, W), of the steady force of amplitude 1
    forcing: nn.Module | None
    noise: RingNoise | None
    grid: Grid
    hyperviscosity_power: int
    scalars: int
    closure_every: str
    kernel: str = "torch"

    @abstractmethod
    def _closure(self) -> Stateless | None:
        """The subgrid stress; None for none."""

    @property
    def points(self) -> Grid:
        """Where the velocity of observations is."""
        return self.grid

    def velocity(self, state: FlowState) -> Float[Tensor, "B 2 H W"]:
        """(B, 2, H, W)."""
        return spectral.velocity(state.vorticity, self.grid, state.mean_velocity)

    def restarted(
        self, state: FlowState, vorticity: Float[Tensor, "H W"], mean: Float[Tensor, " 2"]
    ) -> FlowState:
        """The one flow of `state` with another vorticity (H, W) and mean flow (2,)."""
        return state._replace(vorticity=vorticity[None], mean_velocity=mean[None])

    def linear_operator(self) -> Float[Tensor, "*B fields H K"]:
        """-(nu k^2 + nu_h k^2p + alpha), and -kappa k^2 for scalars: (1 + S, H, K) float64.

        With a batch axis first where a parameter has one.
        """
        ky, kx = self.grid.wavenumbers(device=self.viscosity.device)
        k2 = (ky**2 + kx**2)[None, :, : columns(self.grid)]
        nu, nu_h, alpha = (
            p.double().reshape(*p.shape, 1, 1, 1)
            for p in (self.viscosity, self.hyperviscosity, self.drag)
        )
        k2 = arranged(k2, self.grid)
        linear = -(nu * k2 + nu_h * k2**self.hyperviscosity_power + alpha)
        if not self.scalars:
            return linear
        kappa = passive_scalars.per_scalar(self, "scalar_diffusivity", self.scalars)
        return passive_scalars.with_diffusion(linear, kappa, k2)

    def nonlinear(self) -> Term:
        """N without a mean flow; `forward` adds that of the state."""
        return self.nonlinear_term(None, 0.0).term()

    def nonlinear_term(
        self, mean: Float[Tensor, "... 2"] | None, time: float, first_member: int = 0
    ) -> NonlinearTerm2D:
        """N, for a mean flow (..., 2) at `time`; None for none, now and later."""
        force = None
        if self.force_curl is not None:
            keep = self.grid.dealias_mask(device=self.force_curl.device)[:, : columns(self.grid)]
            amplitude = self.forcing_amplitude
            amplitude = amplitude.reshape(*amplitude.shape, 1, 1)
            force = amplitude * (to_modes(self.force_curl, self.grid) * keep)
        gradient = passive_scalars.mean_gradient(self, self.scalars) if self.scalars else None
        return NonlinearTerm2D(
            grid=self.grid,
            scalars=self.scalars,
            force=force,
            mean=mean,
            drag=self.drag,
            start=time,
            dt=self.dt,
            gradient=gradient,
            closure=self._closure(),
            hold=self.closure_every == "step",
            forcing=None if self.forcing is None else Stateless(self.forcing),
            noise=self.noise,
            noise_rate=self.injection_rate,
            first_member=first_member,
            kernel=self.kernel,
        )

    def forward(self, state: FlowState, steps: int = 1) -> FlowState:
        """The flow `steps * dt` later."""
        size = self._chunk(state)
        if not size:
            return self.watched(state, steps)

        def advance(flows: FlowState, first: int) -> FlowState:
            return self.watched(flows, steps, first_member=first)

        return in_chunks(state, size, advance)

    def _chunk(self, state: FlowState) -> int:
        """How many flows of a batch to run together, for the processor's cache; 0 for all."""
        omega = state.vorticity
        size = max(1, flow_state.CACHE // (self.grid.height * self.grid.width * (1 + self.scalars)))
        same = all(p.ndim == 0 for p in self.parameters(recurse=False))
        same = same and (self.force_curl is None or self.force_curl.ndim == 2)
        one_axis = omega.ndim == 3 and state.time.ndim == 0 and omega.device.type == "cpu"
        if self.stepper == ADAPTIVE or traced() or not (one_axis and same):
            return 0
        return size if len(omega) > size else 0

    def watched(
        self,
        state: FlowState,
        steps: int,
        monitor: Monitor | None = None,
        *,
        first_member: int = 0,
    ) -> FlowState:
        """The flow `steps * dt` later, in one batch.

        `monitor` is called with (steps done, modes (..., 1 + S, H, K)) after each step; the noise
        of the first flow is that of `first_member`.
        """
        if (state.scalars is None) != (self.scalars == 0):
            raise InputError(f"{self.part}: the state does not carry scalars={self.scalars}")
        mean = state.mean_velocity
        moving = traced() or mean.requires_grad or bool(mean.any())
        time = self._start(state)
        term = self.nonlinear_term(mean if moving else None, time, first_member).term()
        modes = self.integrate(modes_of(state, self.grid), steps, time, term=term, monitor=monitor)
        if moving:
            mean = decayed(mean, self.drag, steps * self.dt)
        state = state._replace(mean_velocity=mean, time=state.time + steps * self.dt)
        return with_modes(state, modes, self.grid)

    def courant_rate(self, u: Complex[Tensor, "*B fields H K"]) -> float:
        """max |u| / dx + max |v| / dy of modes u (..., 1, H, K), without the mean flow."""
        factors = spectral.velocity_factors(self.grid, u.real.dtype, str(u.device))
        velocity = to_points(factors[..., : columns(self.grid)] * u[..., :1, :, :], self.grid)
        fastest = velocity.abs().amax((-2, -1)).reshape(-1, 2).amax(0)
        dy, dx = self.grid.spacing
        return float(fastest[0] / dx + fastest[1] / dy)

    def _start(self, state: FlowState) -> float:
        """The time of the state, where a force depends on it."""
        if self.noise is None and self.forcing is None:
            return 0.0
        first = float(state.time.reshape(-1)[0])
        if state.time.ndim and not bool((state.time == first).all()):
            raise InputError(f"{self.part}: a force that depends on time needs flows at one time")
        return first
