"""Chaotic systems of meteorology: Lorenz 63 and Lorenz 96."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Parameter, Setting
from sfm_dynamics.simulators.ode import Ode, settings
from sfm_dynamics.simulators.system import Values

MOST = 1_000_000  # points; a slip of the key should not take all memory


class Lorenz63(Ode):
    """Lorenz's three equations of convection, the first strange attractor.

        dx/dt = sigma (y - x),   dy/dt = x (rho - z) - y,   dz/dt = x y - beta z

    x: intensity of convection; y: horizontal and z: vertical temperature difference, all without
    unit, as time is.

    Good values: sigma 10, rho 28, beta 8/3 (the defaults) are chaotic with the Lyapunov exponents
    0.906, 0, -14.572; rho below 24.06 ends in a fixed point, rho below 1 at rest. dt 0.01 for rk4.

    Limits: errors grow e-fold in 1.1 time units, so trajectories mean something up to about 30.

    Source: E. N. Lorenz, J. Atmos. Sci. 20, 130 (1963).
    """

    part: ClassVar[str] = "dynamics/lorenz-63"
    summary: ClassVar[str] = "Lorenz's three equations of convection"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("sigma", "1", 10.0, 0.0, 1e3, "Prandtl number; 10"),
        Parameter("rho", "1", 28.0, -1e3, 1e3, "reduced Rayleigh number; chaos above 24.74"),
        Parameter("beta", "1", 8 / 3, 0.0, 1e3, "aspect of the rolls; 8/3"),
    )
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2",)
    default_steps: ClassVar[int] = 2500
    variables: ClassVar[tuple[str, ...]] = ("x", "y", "z")

    def start(self) -> tuple[float, ...]:
        return (-8.0, 7.0, 27.0)

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        u, v, w = x.unbind(-1)
        return torch.stack(
            (p["sigma"] * (v - u), u * (p["rho"] - w) - v, u * v - p["beta"] * w), -1
        )


class Lorenz96(Ode):
    """Lorenz's model of an atmospheric quantity on a circle of latitude.

        dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F,   i modulo n

    Without unit; a time unit stands for five days.

    Good values: F 8 and n 40 (the defaults) are chaotic with the largest Lyapunov exponent 1.68;
    F below 8/9 decays to x = F. dt 0.05 for rk4 is Lorenz's own, 0.01 is accurate.

    Limits: n from 4 to a million.

    Source: E. N. Lorenz, Proc. Seminar on Predictability, ECMWF (1996), 1.
    """

    part: ClassVar[str] = "dynamics/lorenz-96"
    summary: ClassVar[str] = "Lorenz's model of weather on a circle of latitude"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("forcing", "1", 8.0, -100.0, 100.0, "F; 8 is chaotic"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        *settings(0.02),
        Setting("n", 40, summary="number of points on the circle"),
    )
    citations: ClassVar[tuple[str, ...]] = (
        "Lorenz (1996), ECMWF Seminar on Predictability 1, 1-18",
    )
    default_steps: ClassVar[int] = 500
    n: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        if not 4 <= self.n <= MOST:
            raise InputError(f"{self.part}: n={self.n} must be 4 to {MOST}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"x{i}" for i in range(self.n))

    def start(self) -> tuple[float, ...]:
        rest = [8.0] * self.n
        rest[self.n // 2] = 8.01
        return tuple(rest)

    def rates(self, x: Float[Tensor, "*states d"], p: Values) -> Float[Tensor, "*states d"]:
        ahead, behind, two = (torch.roll(x, k, -1) for k in (-1, 1, 2))
        return (ahead - two) * behind - x + p["forcing"]
