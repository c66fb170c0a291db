"""`fluids/shallow-water`: rotating shallow water on a periodic rectangle, over topography."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate import Parameter, Setting, Trajectory
from sfm.simulate.rollout import rollout
from sfm_fluids import box
from sfm_fluids.flows.shallow_water import SHAPES, balanced_vortices, drop, shape
from sfm_fluids.parameters import parameter_batch
from sfm_fluids.periodic.pseudo_spectral import PseudoSpectral
from sfm_fluids.periodic.shallow_water_modes import WaveModes
from sfm_fluids.quantities import (
    LAYER_DEPTH,
    LAYER_ENERGY,
    MEAN_LAYER_DEPTH,
    POTENTIAL_ENSTROPHY,
    VELOCITY,
    VORTICITY,
)
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.stepping import matrix_etdrk4
from sfm_fluids.stepping.term import Term


class LayerState(NamedTuple):
    """B flows at one time: depth of the layer h (B, H, W), velocity (B, 2, H, W), time ()."""

    depth: Tensor
    velocity: Tensor
    time: Tensor


class ShallowWater(PseudoSpectral):
    """Rotating shallow water on a periodic f-plane, over topography.

        u_t + (zeta + f) k x u = -grad(g eta + |u|^2 / 2) - r u + nu lap u - nu4 lap^2 u
        h_t + div(h u) = 0,        h = H + eta - b

    with the depth h of the layer, the surface's elevation eta, the bottom's elevation b and
    zeta = dv/dx - du/dy. Every wavenumber's three linear modes (two inertia-gravity waves of
    omega^2 = f^2 + g H k^2 and the geostrophic mode, with all friction) are advanced together by
    a 3 x 3 matrix exponential, so that linear waves are exact at any step and the step is bound
    by the flow, not by the waves. The rest is Fourier with the 2/3 rule and
    ETDRK4 in time (fourth order), in the form (zeta + f)/h k x (h u) of R. Sadourny,
    J. Atmos. Sci. 32, 680 (1975): without friction the discrete equations conserve energy
    exactly in space, and mass to rounding.

    Units: any consistent ones (metres and seconds, say). The defaults are scaled: g = H = 1, so
    that waves travel at 1; f = 2 makes the deformation radius 1/2 in a box of 2 pi.

    Good values: max|u| dt / dx below 1, and h well above 0 everywhere. Waves set no limit of
    stability, but their interactions are stepped: with sqrt(g H) k dt = 4 for the shortest waves
    vortices of U = 0.1 sqrt(g H) are right to 4e-4 after ten time units, with 2 to 3e-5.
    nu4 = 0.1 U dx^3 absorbs what a flow of speed U sends to the smallest scales.

    Initial flows: `vortices` (random, geostrophically balanced, of rms speed `speed`), `drop`
    (a raised surface at rest; it splits into waves and a balanced vortex), `rest`.
    Bottoms: `flat`, `seamount`, `ridge` of the parameter `bottom_height`, or any field.

    Limits: periodic only; constant f; no wetting and drying, no bores: h stays positive and
    fields smooth; no wind stress; a fixed step; the stepper is ETDRK4 in matrix form only.
    """

    part: ClassVar[str] = "fluids/shallow-water"
    summary: ClassVar[str] = "rotating shallow water, periodic, exact linear waves, topography"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("gravity", "1", 1.0, 0.0, math.inf, "g"),
        Parameter("rest_depth", "1", 1.0, 1e-12, math.inf, "H, of the layer over b = 0"),
        Parameter("coriolis", "1", 2.0, summary="f = 2 Omega sin(latitude)"),
        Parameter("viscosity", "1", 0.0, 0.0, math.inf, "nu, of momentum"),
        Parameter("hyperviscosity", "1", 1e-5, 0.0, math.inf, "nu4, of momentum; 1e-5 on 64^2"),
        Parameter("drag", "1", 0.0, 0.0, math.inf, "r, linear bottom drag"),
        Parameter("bottom_height", "1", 0.2, summary="height of the bottom's shape"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("height", 64, summary="grid points along y, at least 4"),
        Setting("width", 64, summary="grid points along x, at least 4"),
        Setting("length_x", 2 * math.pi, summary="box length along x"),
        Setting("length_y", 2 * math.pi, summary="box length along y"),
        Setting("dt", 0.05, summary="time step"),
        Setting("stepper", "etdrk4", ("etdrk4",), summary="method in time, in matrix form"),
        Setting("recompute", True, (True, False), summary="redo steps in the backward pass"),
        Setting("segment", 1, summary="keep each segment-th state for the backward pass"),
        Setting("bottom", "flat", SHAPES, summary="shape of the bottom"),
        Setting("initial", "vortices", ("vortices", "drop", "rest"), summary="initial flow"),
        Setting("speed", 0.1, summary="rms speed of the vortices, height of the drop"),
        Setting("seed", 0, summary="of the random initial flow"),
    )
    observables = (
        LAYER_DEPTH,
        VELOCITY,
        VORTICITY,
        MEAN_LAYER_DEPTH,
        LAYER_ENERGY,
        POTENTIAL_ENSTROPHY,
    )
    citations = (
        "https://doi.org/10.1175/1520-0469(1975)032<0680:TDOFDM>2.0.CO;2",  # Sadourny 1975
        "https://doi.org/10.1006/jcph.2002.6995",  # Cox and Matthews 2002
        "https://doi.org/10.1017/S0962492910000048",  # Hochbruck and Ostermann 2010
    )
    default_steps: ClassVar[int] = 400
    conserved: ClassVar[Mapping[str, float]] = {"mean_layer_depth": 1e-13}

    gravity: Tensor
    rest_depth: Tensor
    coriolis: Tensor
    viscosity: Tensor
    hyperviscosity: Tensor
    drag: Tensor
    bottom_height: Tensor
    bottom_shape: Tensor
    height: int
    width: int
    length_x: float
    length_y: float
    bottom: str
    initial: str
    speed: float
    seed: int

    def __init__(
        self,
        *,
        bottom_shape: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """`bottom_shape` (H, W) or (B, H, W) replaces the setting `bottom`; b is `bottom_height`
        times it, without the modes that the 2/3 rule drops.

        Raises:
            InputError: a value out of bounds, or a bottom of another shape.
        """
        super().__init__(dtype=dtype, **values)
        self.grid = Grid(self.height, self.width, self.length_y, self.length_x)
        if bottom_shape is None:
            bottom_shape = shape(self.bottom, self.grid)
        elif self.bottom != "flat":
            raise InputError(f"{self.part}: give bottom_shape or bottom='{self.bottom}', not both")
        if tuple(bottom_shape.shape[-2:]) != self.grid.shape:
            raise InputError(
                f"{self.part}: bottom_shape has shape {tuple(bottom_shape.shape)}, "
                f"the grid {self.grid.shape}"
            )
        self.modes = WaveModes(self.grid)
        smooth = self.modes.filtered(bottom_shape.double())
        self.register_buffer("bottom_shape", smooth.to(dtype))

    # --- states -------------------------------------------------------------------------------

    def elevation_of_bottom(self) -> Float[Tensor, "*B H W"]:
        """b, (H, W) or (B, H, W)."""
        return _per_flow(self.bottom_height) * self.bottom_shape

    @classmethod
    def stated(cls, sample: Sample, **values: Any) -> dict[str, Any]:
        """Points, box and parameters of a sample."""
        return box.stated(cls, sample, "velocity", 2, values)

    def state(self, sample: Sample | None = None) -> LayerState:
        """The flow of a sample with fields `layer_depth` (H, W) and `velocity` (2, H, W), or the
        setting `initial`.

        Raises:
            InputError: the sample lacks one of them, or has another grid, another box, or walls.
        """
        if sample is not None:
            for name in ("layer_depth", "velocity"):
                if name not in sample.fields:
                    raise InputError(f"{sample.id}: no field '{name}', which {self.part} needs")
            depth, velocity = (
                torch.from_numpy(np.array(sample.fields[n])) for n in ("layer_depth", "velocity")
            )
            box.check(self, sample, 2)
            state = self.from_fields(depth, velocity)
            state = state._replace(time=state.time + sample.conditions.get("time", 0.0))
            box.say_unused(self, sample, ("layer_depth", "velocity"))
            return state
        with torch.no_grad():
            f, g = (_per_flow(p.double()) for p in (self.coriolis, self.gravity))
            eta = torch.zeros(self.grid.shape, dtype=torch.float64)
            velocity = torch.zeros(2, *self.grid.shape, dtype=torch.float64)
            if self.initial == "vortices":
                velocity, eta = balanced_vortices(self.grid, self.speed, f, g, self.seed)
            elif self.initial == "drop":
                eta = self.speed * drop(self.grid)
            depth = _per_flow(self.rest_depth) + eta - self.elevation_of_bottom()
        return self.from_fields(depth, velocity.expand(*depth.shape[:-2], 2, *self.grid.shape))

    def from_fields(
        self, depth: Float[Tensor, " ..."], velocity: Float[Tensor, " ..."]
    ) -> LayerState:
        """The state of h (H, W) or (B, H, W) and velocity (2, H, W) or (B, 2, H, W).

        Raises:
            InputError: wrong shapes, or a depth that is not positive.
        """
        if depth.ndim == 2:
            depth = depth[None]
        if velocity.ndim == 3:
            velocity = velocity[None]
        batch = max(len(depth), len(velocity))
        shapes = ((batch, *self.grid.shape), (batch, 2, *self.grid.shape))
        if (tuple(depth.shape), tuple(velocity.shape)) != shapes:
            raise InputError(
                f"{self.part}: depth {tuple(depth.shape)} and velocity {tuple(velocity.shape)} "
                f"are not (B, H, W) and (B, 2, H, W) on {self.height} x {self.width} points"
            )
        if not bool((depth > 0).all()):
            raise InputError(f"{self.part}: the layer's depth must be positive everywhere")
        depth, velocity = depth.to(self.gravity), velocity.to(self.gravity)
        state = self._batched(LayerState(depth, velocity, depth.new_zeros(())))
        return self._state(self._coefficients(state), state.time)

    def _batched(self, state: LayerState) -> LayerState:
        """The state with the batch axis of parameters and bottom, if it has none of its own."""
        batch = parameter_batch(self, state.depth.shape[:-2], self.bottom_shape.shape[:-2])
        return state._replace(
            depth=state.depth.expand(*batch, -1, -1),
            velocity=state.velocity.expand(*batch, -1, -1, -1),
        )

    def _coefficients(self, state: LayerState) -> Tensor:
        """The waves' coefficients (..., 3, H, K) of a state."""
        eta = state.depth + self.elevation_of_bottom() - _per_flow(self.rest_depth)
        return self.modes.to_modes(state.velocity, eta)

    def _state(self, modes: Tensor, time: Tensor) -> LayerState:
        velocity, eta = self.modes.to_fields(modes)
        depth = _per_flow(self.rest_depth) + eta - self.elevation_of_bottom()
        return LayerState(depth, velocity, time)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[ShallowWater, LayerState]:
        """Fast vortices over a seamount, with all kinds of friction."""
        case = {"height": 12, "width": 12, "dt": 0.1, "bottom": "seamount", "speed": 0.2}
        friction = {"viscosity": 0.01, "hyperviscosity": 1e-4, "drag": 0.02}
        simulator = cls(**{**case, **friction, **values})
        return simulator, simulator.state()

    def pack(self, state: LayerState) -> Float[Tensor, "*B n"]:
        """(..., 3 H W): elevation of the surface and velocity, as one vector."""
        eta = state.depth + self.elevation_of_bottom() - _per_flow(self.rest_depth)
        return torch.cat((eta.unsqueeze(-3), state.velocity), dim=-3).flatten(-3)

    def unpack(self, vector: Float[Tensor, "*B n"], like: LayerState) -> LayerState:
        """The state of a vector (..., 3 H W), at the time of `like`."""
        fields = vector.unflatten(-1, (3, *self.grid.shape))
        depth = _per_flow(self.rest_depth) + fields[..., 0, :, :] - self.elevation_of_bottom()
        return LayerState(depth, fields[..., 1:, :, :], like.time)

    # --- dynamics -----------------------------------------------------------------------------

    def linear_operator(self) -> Float[Tensor, "*B 3 3 H K"]:
        """Matrices (..., 3, 3, H, K) float64 on divergence / K, vorticity / K, elevation."""
        k = self.modes.magnitude(self.gravity.device)
        g, depth, f, nu, nu4, drag = (
            _per_flow(p.double())
            for p in (
                self.gravity,
                self.rest_depth,
                self.coriolis,
                self.viscosity,
                self.hyperviscosity,
                self.drag,
            )
        )
        friction = -(drag + nu * k**2 + nu4 * k**4)
        zero = torch.zeros_like(friction)
        rows = ((friction, f + zero, g * k), (-f + zero, friction, zero), (-depth * k, zero, zero))
        flat = torch.broadcast_tensors(*(entry for row in rows for entry in row))
        operator: Tensor = torch.stack(flat, -3).unflatten(-3, (3, 3))
        return operator

    def nonlinear(self) -> Term:
        """N of the coefficients, with f, H and b."""
        return Term(
            lambda modes, time, f, depth, bottom: self.modes.tendency(modes, f, depth, bottom),
            (_per_flow(self.coriolis), _per_flow(self.rest_depth), self.elevation_of_bottom()),
        )

    def forward(self, state: LayerState, steps: int = 1) -> LayerState:
        """The flow `steps * dt` later."""
        linear, dtype = self.linear_operator(), state.depth.dtype
        factors = self.remembered(
            (self.dt, dtype), linear, lambda: matrix_etdrk4.coefficients(linear, self.dt, dtype)
        )
        nonlinear = self.nonlinear()

        def advance(modes: Tensor, n: int, *tensors: Tensor) -> Tensor:
            def term(w: Tensor) -> Tensor:
                return nonlinear.function(w, 0.0, *tensors[len(factors) :])

            return matrix_etdrk4.step(modes, term, tensors[: len(factors)])

        end = rollout(
            advance,
            self._coefficients(self._batched(state)),
            (*factors, *nonlinear.tensors),
            steps,
            recompute=self.recompute,
            segment=self.segment,
        )
        return self._state(end, state.time + steps * self.dt)

    def observe(self, state: LayerState) -> dict[str, Shaped[Tensor, " ..."]]:
        """layer_depth (B, H, W), velocity (B, 2, H, W), vorticity (B, H, W), mean_layer_depth (B,),
        layer_energy (B,) = <h |u|^2 + g eta^2> / 2, potential_enstrophy (B,) =
        <(zeta + f)^2 / h> / 2."""
        h, u = state.depth, state.velocity
        zeta = spectral.vorticity(u, self.grid)
        eta = h + self.elevation_of_bottom() - _per_flow(self.rest_depth)
        energy = h * u.square().sum(-3) + _per_flow(self.gravity) * eta.square()
        return {
            "layer_depth": h,
            "velocity": u,
            "vorticity": zeta,
            "mean_layer_depth": h.mean((-2, -1)),
            "layer_energy": 0.5 * energy.mean((-2, -1)),
            "potential_enstrophy": 0.5
            * ((zeta + _per_flow(self.coriolis)).square() / h).mean((-2, -1)),
        }

    def warnings(self, state: LayerState) -> tuple[str, ...]:
        """Courant number above 1, waves that are not resolved in time, energy at the cut-off.

        Raises:
            RunError: the layer has dried up somewhere or is no longer finite.
        """
        if not (torch.isfinite(state.depth).all() and torch.isfinite(state.velocity).all()):
            raise RunError(f"{self.part}: the flow blew up; take a smaller dt or a finer grid")
        if not (state.depth > 0).all():
            raise RunError(f"{self.part}: the layer has dried up, which this theory does not cover")
        lines = []
        with torch.no_grad():
            speed = float(state.velocity.abs().max())
            courant = speed * self.dt / min(self.grid.spacing)
            if courant > 1:
                lines.append(f"max|u| dt / dx = {courant:.2f}, above 1: take a smaller dt")
            wave = float((_per_flow(self.gravity) * state.depth).max()) ** 0.5
            if speed > wave:
                lines.append(f"max|u| = {speed:.3g} exceeds the wave speed {wave:.3g}: bores form")
            tail = self.modes.tail(self._coefficients(state))
            if tail > 1e-2:
                lines.append("the smallest scales are not small: refine, or add hyperviscosity")
        return tuple(lines)

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Depth and vorticity at the start and the end, the energy's history; .gif animates."""
        from sfm_fluids.figures.shallow_water import draw

        draw(trajectory, self.grid, Path(path))


def _per_flow(parameter: Tensor) -> Tensor:
    """A parameter () or (B,), ready to multiply fields (B, H, W)."""
    return parameter[:, None, None] if parameter.ndim else parameter
