"""The base of the simulators on a periodic line: u_t = L u - (flux)_x + f for one field u(x, t).

L, the flux and f are those of the simulator, by definition; any consistent system of units.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate import Observations, Setting, Trajectory
from sfm_fluids import box
from sfm_fluids.flows.from_sample import start_from
from sfm_fluids.parameters import parameter_batch
from sfm_fluids.periodic.pseudo_spectral import STEPPING, PseudoSpectral
from sfm_fluids.quantities import KINETIC_ENERGY, MEAN_VELOCITY, VELOCITY
from sfm_fluids.spectral.grid_1d import Line
from sfm_fluids.stepping.term import Term


class LineState(NamedTuple):
    """B fields at one time: velocity (B, N), time ()."""

    velocity: Tensor
    time: Tensor


class Flux(NamedTuple):
    """`function(u (..., N), *tensors)` is the flux on the grid; `tensors` is all it depends on."""

    function: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()


def line_settings(points: int, length: float, dt: float) -> tuple[Setting, ...]:
    """Settings that all simulators on a line have, with their defaults."""
    stepping = (Setting("dt", dt, summary="time step"), *STEPPING[1:])
    return (
        Setting("points", points, summary="grid points, at least 4; a third of the modes is cut"),
        Setting("length", length, summary="length of the periodic line"),
        *stepping,
        Setting("members", 1, summary="random initial fields in one batch"),
        Setting("seed", 0, summary="of the random initial fields"),
    )


class OneDimensional(PseudoSpectral):
    """A field on a periodic line: states, observables, figures.

    A subclass gives parameters, `linear_operator`, `flux` and `initial_field`.
    """

    observables = (VELOCITY, MEAN_VELOCITY, KINETIC_ENERGY)

    resolved: ClassVar[float] = 1e-3
    """Warn where the highest modes are larger than this, relative to the largest mode."""

    points: int
    length: float
    members: int
    seed: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.grid = Line(self.points, self.length)
        if self.members < 1:
            raise InputError(f"{self.part}: members={self.members} must be at least 1")
        initial = getattr(self, "initial", "random")
        if self.members > 1 and initial != "random":
            raise InputError(
                f"{self.part}: members={self.members} are of initial=random; "
                f"initial={initial} is one field"
            )

    @abstractmethod
    def flux(self) -> Flux:
        """What u_t is minus the x-derivative of."""

    @abstractmethod
    def initial_field(self) -> Float[Tensor, "B N"]:
        """The field (B, N) of the setting `initial`, float64."""

    def force(self) -> Float[Tensor, "*B N"] | None:
        """f on the grid, (N,) or (B, N); None for no force."""
        return None

    # --- states -------------------------------------------------------------------------------

    @classmethod
    def stated(cls, sample: Sample, **values: Any) -> dict[str, Any]:
        """Points, length and parameters of a sample."""
        return box.stated(cls, sample, "velocity", 1, values)

    def state(self, sample: Sample | None = None) -> LineState:
        """The field of a sample with a field `velocity` (N,), or the setting `initial`.

        What the sample states and the run does not use, and the share of the field's energy
        beyond the 2/3 rule, is said in an `InputWarning`.

        Raises:
            InputError: the sample has no such field, another number of points, another length, or
                ends that are not periodic.
        """
        if sample is None:
            return self.from_field(self.initial_field())
        return start_from(self, sample, 1, self.from_field)

    def from_field(self, velocity: Float[Tensor, " ..."]) -> LineState:
        """The state of u (N,) or (B, N), with the modes that the 2/3 rule keeps."""
        if velocity.ndim not in (1, 2):
            raise InputError(f"{self.part}: velocity {tuple(velocity.shape)} is not (N,) or (B, N)")
        if velocity.shape[-1] != self.points:
            points = velocity.shape[-1]
            raise InputError(
                f"{self.part}: the velocity has {points} points, the simulator {self.points}; "
                f"set points={points}, or interpolate it (sfm_fluids.spectral.grid_1d.resampled)"
            )
        parameter = next(self.parameters())
        u = torch.atleast_2d(velocity).to(parameter)
        return LineState(
            self._batched(self.grid.to_field(self.grid.to_spectrum(u))), u.new_zeros(())
        )

    def _batched(self, velocity: Tensor) -> Tensor:
        """The field with the batch axis of parameters and force, if it has none of its own."""
        force = self.force()
        more = velocity.shape[:-1], torch.Size() if force is None else force.shape[:-1]
        return velocity.expand(*parameter_batch(self, *more), -1)

    def random_fields(self, reach: int, rms: float) -> Float[Tensor, "members N"]:
        """(members, N) float64: random phases and amplitudes in modes 1 to `reach`, zero mean.

        They do not depend on the resolution. The root mean square of each is `rms`.
        """
        generator = torch.Generator().manual_seed(self.seed)
        draw = torch.randn(self.members, reach, 2, generator=generator, dtype=torch.float64)
        hat = torch.zeros(self.members, self.points // 2 + 1, dtype=torch.complex128)
        kept = min(reach, self.grid.modes)
        hat[:, 1 : kept + 1] = torch.view_as_complex(draw)[:, :kept]
        u = self.grid.to_field(hat)
        return u * rms / u.square().mean(-1, keepdim=True).sqrt()

    def pack(self, state: LineState) -> Float[Tensor, "*B n"]:
        """Real coefficients (..., 2 M) of the M retained modes without the (constant) mean."""
        hat = torch.fft.rfft(state.velocity, norm="forward")[..., 1 : self.grid.modes + 1]
        return torch.view_as_real(hat).flatten(-2)

    def unpack(self, vector: Float[Tensor, "*B n"], like: LineState) -> LineState:
        """The state of coefficients (..., 2 M), with the mean and the time of `like`."""
        hat = torch.complex(*vector.unflatten(-1, (-1, 2)).unbind(-1))
        rest = self.points // 2 - self.grid.modes
        hat = torch.nn.functional.pad(hat, (1, rest))
        u = torch.fft.irfft(hat, n=self.points, norm="forward")
        return LineState(u + like.velocity.mean(-1, keepdim=True), like.time)

    # --- dynamics -----------------------------------------------------------------------------

    def nonlinear(self) -> Term:
        """-i k times the transform of the flux, plus that of the force: two transforms a call."""
        parameter, force, (flux, tensors) = next(self.parameters()), self.force(), self.flux()
        minus_ik = -self.grid.derivative_factor(parameter.dtype, parameter.device)

        def tendency(hat: Tensor, time: float, *given: Tensor) -> Tensor:
            rate: Tensor = minus_ik * torch.fft.rfft(flux(self.grid.to_field(hat), *given))
            return rate

        def forced(hat: Tensor, time: float, force_hat: Tensor, *given: Tensor) -> Tensor:
            return tendency(hat, time, *given) + force_hat

        if force is None:
            return Term(tendency, tensors)
        return Term(forced, (self.grid.to_spectrum(force), *tensors))

    def forward(self, state: LineState, steps: int = 1) -> LineState:
        """The field `steps * dt` later."""
        hat = self.integrate(self.grid.to_spectrum(self._batched(state.velocity)), steps)
        return LineState(self.grid.to_field(hat), state.time + steps * self.dt)

    def observe(self, state: LineState) -> dict[str, Shaped[Tensor, " ..."]]:
        """velocity (B, N), mean_velocity (B,), mean_kinetic_energy (B,) = <u^2> / 2."""
        return {
            "velocity": state.velocity,
            "mean_velocity": state.velocity.mean(-1),
            "mean_kinetic_energy": 0.5 * state.velocity.square().mean(-1),
        }

    def warnings(self, state: LineState) -> tuple[str, ...]:
        """Courant number above 1 and energy piled up at the cut-off.

        Raises:
            RunError: the field is no longer finite.
        """
        if not torch.isfinite(state.velocity).all():
            raise RunError(f"{self.part}: the field blew up; take a smaller dt or more points")
        lines = []
        with torch.no_grad():
            courant = float(state.velocity.abs().max()) * self.dt / self.grid.spacing
            if courant > 1:
                lines.append(f"max|u| dt / dx = {courant:.2f}, above 1: take a smaller dt")
            power = torch.fft.rfft(state.velocity)[..., 1 : self.grid.modes + 1].abs()
            tail = power[..., -max(1, self.grid.modes // 10) :].amax(-1)
            if bool((tail > self.resolved * power.amax(-1)).any()) and self.closure is None:
                lines.append("the smallest scales are not small: under-resolved, take more points")
        return tuple(lines)

    # --- files --------------------------------------------------------------------------------

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """A space-time figure with the last field and the energy's history; .gif animates."""
        from sfm_fluids.figures.line import draw

        draw(trajectory, self.grid, Path(path), self.part)

    def read_observations(self, path: Path) -> Observations:
        """Fields for `sfm fit`: see `sfm_fluids.periodic.observations.read_line`."""
        from sfm_fluids.periodic.observations import read_line

        return read_line(self, Path(path))

    def predict_observations(self, observations: Observations) -> dict[str, Float[Tensor, "T N"]]:
        """Velocity at the observed times, (T, N)."""
        from sfm_fluids.periodic.observations import predict_line

        return predict_line(self, observations)


def per_member(parameter: Float[Tensor, "*B"]) -> Float[Tensor, " ..."]:
    """A parameter () or (B,) in float64, ready to multiply wavenumbers: (1,) or (B, 1)."""
    return parameter.double().reshape(-1, 1) if parameter.ndim else parameter.double().reshape(1)


def sine(grid: Line, wavenumber: int) -> Float[Tensor, " N"]:
    """sin(2 pi n x / length), float64 (N,)."""
    return torch.sin(2 * math.pi * wavenumber / grid.length * grid.coordinates())
