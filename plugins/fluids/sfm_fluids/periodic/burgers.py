"""`fluids/burgers`: the viscous Burgers equation on a periodic line, with a closure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_fluids.periodic.one_dimensional import (
    Flux,
    LineState,
    OneDimensional,
    line_settings,
    per_member,
    sine,
)
from sfm_fluids.spectral.grid_1d import Line
from sfm_fluids.stepping.stateless import Stateless


class Burgers(OneDimensional):
    """The viscous Burgers equation on a periodic line, in conservative form.

        u_t + (u^2 / 2 + tau)_x = nu u_xx + A s(x)

    with Fourier modes, the 2/3 rule (the quadratic flux is alias-free, two transforms a call) and
    ETDRK4 in time (fourth order, exact for the diffusion). s(x) = sin(2 pi n x / length), or any
    field. The mean of u is constant and the state is in box units: any consistent system will do.

    Good values: nu = 0.02 on 256 points with dt = 0.005 for |u| about 1 and length 2 pi. A front
    is about 4 nu / (jump of u) wide: keep two points or more in it, and max|u| dt / dx below 1.

    Closure: a module `(velocity (B, N), spacing) -> tau (B, N)`, the subgrid flux
    F[u^2]/2 - F[u]^2/2 for a coarse grid. Built in: `subgrid="smagorinsky"`,
    tau = -(C dx)^2 |u_x| u_x with the parameter `smagorinsky_constant`.

    Initial fields: `sine`; `random` (modes 1 to 5, rms 1); `cole-hopf`, the closed form of
    E. Hopf, Comm. Pure Appl. Math. 3, 201 (1950) and J. D. Cole, Q. Appl. Math. 9, 225 (1951):

        u = 2 nu k r exp(-nu k^2 t) sin kx / (1 + r exp(-nu k^2 t) cos kx),    r < 1

    Limits: periodic only; a fixed step; no shock capturing at nu = 0 (the series oscillates).
    """

    part: ClassVar[str] = "fluids/burgers"
    summary: ClassVar[str] = "viscous Burgers equation on a periodic line, with closure"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("viscosity", "1", 0.02, 0.0, math.inf, "nu; 1e-3 to 1"),
        Parameter("forcing_amplitude", "1", 0.0, summary="A, of the steady force"),
        Parameter("smagorinsky_constant", "1", 0.2, 0.0, 10.0, "C; 0.1 to 1"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *line_settings(256, 2 * math.pi, 0.005),
        Setting("initial", "sine", ("sine", "random", "cole-hopf"), summary="initial field"),
        Setting("wavenumber", 1, summary="n of the initial field, periods on the line"),
        Setting("cole_hopf_ratio", 0.9, summary="r of the closed form, 0 < r < 1"),
        Setting("forcing_wavenumber", 1, summary="n of the force, periods on the line"),
        Setting("subgrid", "none", ("none", "smagorinsky"), summary="built-in closure"),
    )
    closure_quantity: ClassVar[str | None] = "sgs_flux"
    citations = (
        "https://doi.org/10.1002/cpa.3160030302",  # Hopf 1950
        "https://doi.org/10.1090/qam/42889",  # Cole 1951
        "https://doi.org/10.1006/jcph.2002.6995",  # Cox and Matthews 2002
    )
    default_steps: ClassVar[int] = 400
    conserved: ClassVar[Mapping[str, float]] = {"mean_velocity": 1e-12}

    viscosity: Tensor
    forcing_amplitude: Tensor
    smagorinsky_constant: Tensor
    force_field: Tensor
    initial: str
    wavenumber: int
    cole_hopf_ratio: float
    forcing_wavenumber: int
    subgrid: str

    def __init__(
        self,
        *,
        closure: nn.Module | None = None,
        force_field: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
        **values: Any,
    ) -> None:
        """`force_field` (N,) or (B, N) replaces s(x).

        Raises:
            InputError: a value out of bounds, a mode that is not resolved, two closures at once.
        """
        super().__init__(closure=closure, dtype=dtype, **values)
        if self.closure is not None and self.subgrid != "none":
            raise InputError(f"{self.part}: give a closure or subgrid='{self.subgrid}', not both")
        if not 0 < self.cole_hopf_ratio < 1:
            raise InputError(
                f"{self.part}: cole_hopf_ratio={self.cole_hopf_ratio} is not between 0 and 1"
            )
        for name in ("wavenumber", "forcing_wavenumber"):
            if not 1 <= getattr(self, name) <= self.grid.modes:
                raise InputError(
                    f"{self.part}: {name}={getattr(self, name)} is not resolved: "
                    f"{self.points} points keep 1 to {self.grid.modes}"
                )
        if force_field is None:
            force_field = sine(self.grid, self.forcing_wavenumber)
        if force_field.shape[-1:] != (self.points,):
            raise InputError(
                f"{self.part}: force_field has shape {tuple(force_field.shape)}, "
                f"the line {self.points} points"
            )
        self.register_buffer("force_field", force_field.to(dtype))

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Burgers, LineState]:
        """A steepening wave with a mean flow, forced, with the Smagorinsky closure."""
        case = {"points": 24, "dt": 0.02, "viscosity": 0.1, "forcing_amplitude": 0.3}
        simulator = cls(**{**case, "subgrid": "smagorinsky", **values})
        return simulator, simulator.from_field(0.5 + simulator.initial_field())

    def initial_field(self) -> Float[Tensor, "B N"]:
        """(B, N) of the setting `initial`."""
        if self.initial == "random":
            return self.random_fields(5, 1.0)
        if self.initial == "sine":
            return sine(self.grid, self.wavenumber)[None]
        viscosity = self.viscosity.detach().double()
        return cole_hopf(self.grid, viscosity, 0.0, self.cole_hopf_ratio, self.wavenumber)

    def linear_operator(self) -> Float[Tensor, "*B K"]:
        """-nu k^2."""
        return (
            -per_member(self.viscosity) * self.grid.wavenumbers(device=self.viscosity.device) ** 2
        )

    def flux(self) -> Flux:
        """u^2 / 2 + tau."""
        if self.subgrid == "smagorinsky":
            return Flux(self._smagorinsky, (self.smagorinsky_constant,))
        if self.closure is None:
            return Flux(lambda u: 0.5 * u * u)
        closure = Stateless(self.closure)
        return Flux(
            lambda u, *t: 0.5 * u * u + closure.call((u, self.grid.spacing), t), closure.tensors
        )

    def _smagorinsky(self, u: Tensor, constant: Tensor) -> Tensor:
        slope = self.grid.derivative(u)
        scale = _per_field(constant) * self.grid.spacing
        return 0.5 * u * u - scale**2 * slope.abs() * slope

    def force(self) -> Float[Tensor, "*B N"]:
        """A s(x)."""
        return _per_field(self.forcing_amplitude) * self.force_field


def _per_field(parameter: Tensor) -> Tensor:
    """A parameter () or (B,), ready to multiply fields (B, N)."""
    return parameter[:, None] if parameter.ndim else parameter


def cole_hopf(
    grid: Line,
    viscosity: Float[Tensor, "*B"] | float,
    time: float,
    ratio: float = 0.9,
    wavenumber: int = 1,
) -> Float[Tensor, "flows N"]:
    """The closed form of the unforced equation at `time`, (1, N) or (B, N) for a viscosity (B,).

    u = 2 nu k r exp(-nu k^2 t) sin kx / (1 + r exp(-nu k^2 t) cos kx), in any consistent system of
    units. E. Hopf, Comm. Pure Appl. Math. 3, 201 (1950); J. D. Cole, Q. Appl. Math. 9, 225 (1951).
    """
    nu = torch.as_tensor(viscosity, dtype=torch.float64).reshape(-1, 1)
    k = 2 * math.pi * wavenumber / grid.length
    decay = ratio * torch.exp(-nu * k**2 * time)
    phase = k * grid.coordinates()
    return 2 * nu * k * decay * phase.sin() / (1 + decay * phase.cos())
