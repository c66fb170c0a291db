"""`Spde`: stochastic partial differential equations on a circle: heat, Burgers, Allen-Cahn.

States and times in the system's own units.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate import Observations, Parameter, Setting, Trajectory
from sfm_dynamics.series import intervals
from sfm_dynamics.simulators.noise import Noisy, mean_of_exp
from sfm_dynamics.simulators.system import State, Values
from sfm_dynamics.simulators.transitions import by_mode, read_fields

VISCOSITY = Parameter("viscosity", "1", 0.1, 1e-12, 1e6, "nu, of diffusion; 0.1")
NOISE = Parameter("noise", "1", 0.1, 0.0, 1e6, "sigma, of space-time white noise; 0.1")


class Spde(Noisy):
    """du = (nu d2u/dx2 - mu u + N(u)) dt + sigma dW on a circle, dW white in space and time.

    Fourier modes k take exponential Euler steps: with l = -nu k^2 - mu and step h,

        u_k <- e^(l h) u_k + (e^(l h) - 1) / l N_k(u) + sigma sqrt((e^(2 l h) - 1) / 2 l) xi_k

    so that without N the law is exact for any h, for the n modes that there are.

    A. Jentzen, P. E. Kloeden, Proc. R. Soc. A 465, 649 (2009), doi:10.1098/rspa.2008.0325.
    """

    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("dt", 0.01, summary="time step"),
        Setting("n", 64, summary="number of points; even"),
        Setting("length", 2 * math.pi, summary="of the circle"),
        Setting("paths", 8, summary="number of realisations of the default state"),
        Setting("seed", 0, summary="of the noise"),
    )
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1098/rspa.2008.0325",)
    default_steps: ClassVar[int] = 500

    n: int
    length: float
    paths: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("dt", "length", "paths")
        if self.n < 4 or self.n % 2:
            raise InputError(f"{self.part}: n={self.n} must be even and at least 4")

    def damping_of(self, p: Values) -> Float[Tensor, ""]:
        """mu (), zero unless an equation has it."""
        return p["viscosity"].new_zeros(())

    @abstractmethod
    def nonlinear(
        self, u: Float[Tensor, "*paths n"], p: Values
    ) -> Float[Tensor, "*paths n"] | None:
        """N(u) (paths, n), None for none."""

    @abstractmethod
    def start(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """u (n,) at the points x (n,)."""

    def drift(self, x: Float[Tensor, "*paths n"], p: Values) -> Float[Tensor, "*paths n"]:
        """nu d2u/dx2 - mu u + N(u) (..., n) at fields x (..., n): the rate without noise."""
        k = self.wavenumbers.to(x)
        linear = -(p["viscosity"] * k**2 + self.damping_of(p))
        rate: Tensor = torch.fft.irfft(linear * torch.fft.rfft(x), self.n)
        extra = self.nonlinear(x, p)
        return rate if extra is None else rate + extra

    @property
    def points(self) -> Float[Tensor, " n"]:
        """x (n,)."""
        return torch.arange(self.n, dtype=self.dtype) * (self.length / self.n)

    @property
    def wavenumbers(self) -> Float[Tensor, " modes"]:
        """k (n / 2 + 1,)."""
        return 2 * math.pi / self.length * torch.arange(self.n // 2 + 1, dtype=self.dtype)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Spde, State]:
        """Two paths on 16 points."""
        simulator = cls(**{"paths": 2, "n": 16, "dt": 0.05, **values})
        return simulator, simulator.state()

    def state(self, sample: Sample | None = None) -> State:
        """`paths` copies (paths, n) of the start, or of the sample's field `state` (n,).

        Raises:
            InputError: the sample has no such field, or states another `length`.
        """
        u = self.start(self.points)
        if sample is not None:
            values = sample.fields.get("state")
            if values is None or values.shape != (self.n,):
                raise InputError(f"{sample.id}: no field 'state' ({self.n},), {self.part} needs it")
            stated = float(sample.conditions.get("length", self.length))
            if not math.isclose(stated, self.length, rel_tol=1e-6):
                raise InputError(
                    f"{sample.id}: a circle of length {stated:g}, {self.part} has {self.length:g}"
                )
            u = torch.tensor(values, dtype=self.dtype)
        like = next(self.parameters())
        return State(u.to(like.device).expand(self.paths, self.n).clone(), like.new_zeros(()))

    def step(
        self, x: Float[Tensor, "*paths n"], dw: Float[Tensor, "*paths n"], p: Values
    ) -> Float[Tensor, "*paths n"]:
        return self.advance(x, dw, p, self.dt)

    def advance(
        self, x: Float[Tensor, "*paths n"], dw: Float[Tensor, "*paths n"], p: Values, h: float
    ) -> Float[Tensor, "*paths n"]:
        """x (..., n) after one step of length h, with increments dw (..., n) of variance h."""
        k = self.wavenumbers.to(x)
        rate = -(p["viscosity"] * k**2 + self.damping_of(p)) * h
        mean, spread = mean_of_exp(rate), mean_of_exp(2 * rate).sqrt()
        cell = self.length / self.n  # white noise on a grid has the variance 1 / cell
        new = rate.exp() * torch.fft.rfft(x) + spread * torch.fft.rfft(p["noise"] * dw / cell**0.5)
        extra = self.nonlinear(x, p)
        if extra is not None:
            new = new + h * mean * torch.fft.rfft(extra)
        after: Tensor = torch.fft.irfft(new, self.n)
        return after

    def stating(self) -> dict[str, float]:
        """`length`, of the circle."""
        return {"length": self.length}

    def read_observations(self, path: Path) -> Observations:
        """Fields at equal intervals from `.npz`; each is predicted from the one before it.

        Parameters of the mean are found this way, with their standard errors; the strength of the
        noise is not: it is in the residuals of each mode. Within an interval the mean follows the
        equation without noise, in steps of at most `dt`, which is exact for linear equations.
        Measurement errors of the fields are taken for noise of the equation.

        Raises:
            InputError: the file is unusable; see `sfm_dynamics.simulators.transitions`.
        """
        times, fields = read_fields(path, n=self.n, length=self.length)
        u = torch.from_numpy(fields).to(self.dtype)
        values = by_mode(u[1:])
        return Observations(
            state=State(u[0], u.new_tensor(times[0])),
            values=values,
            units=dict.fromkeys(values, "1"),
            options={"fields": u[:-1], "interval": float(times[-1] - times[0]) / (len(times) - 1)},
        )

    def predict_observations(self, observations: Observations) -> dict[str, Float[Tensor, " m"]]:
        """The mean of each field given the one before it, by mode, (numbers,) each."""
        x, p = observations.options["fields"], self.values()
        for count, size in intervals([0.0, observations.options["interval"]], self.dt):
            for _ in range(count):
                x = self.advance(x, torch.zeros_like(x), p, size)
        return by_mode(x)

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """One realisation in space and time, and profiles at the end."""
        from sfm_dynamics.figures import plot_field

        plot_field(trajectory, self.points.numpy(), path)


class StochasticHeat(Spde):
    """Heat with noise, du = (nu d2u/dx2 - mu u) dt + sigma dW.

    Each point's stationary variance is sigma^2 / L sum_k 1 / (2 (nu k^2 + mu)) over the modes, on
    an unlimited number of them sigma^2 coth(L sqrt(mu / nu) / 2) / (4 sqrt(mu nu)).

    Without unit. Good values: nu 0.1, mu 1, sigma 0.1; the law is exact for any dt.

    Limits: a circle; with mu = 0 the mean wanders.

    Source: J. B. Walsh, An introduction to stochastic partial differential equations (1986).
    """

    part: ClassVar[str] = "dynamics/stochastic-heat"
    summary: ClassVar[str] = "heat on a circle with white noise"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        VISCOSITY,
        Parameter("damping", "1", 1.0, 0.0, 1e6, "mu, of the mean, too; 1"),
        NOISE,
    )

    def damping_of(self, p: Values) -> Float[Tensor, ""]:
        return p["damping"]

    def nonlinear(
        self, u: Float[Tensor, "*paths n"], p: Values
    ) -> Float[Tensor, "*paths n"] | None:
        return None

    def start(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return torch.zeros_like(x)


class StochasticBurgers(Spde):
    """Burgers' equation with noise, du = (nu d2u/dx2 - d(u^2 / 2)/dx) dt + sigma dW.

    Products are formed without aliases (two thirds of the modes). Without noise Cole and Hopf's
    u = 2 nu e^(-nu t) sin x / (c + e^(-nu t) cos x) is exact.

    Without unit. Good values: nu 0.1, sigma 0.1, n 64, dt 0.01; the cell nu / u should not be
    smaller than the grid's.

    Limits: a circle; order one in dt.

    Source: L. Bertini, N. Cancrini, G. Jona-Lasinio, Commun. Math. Phys. 165, 211 (1994).
    """

    part: ClassVar[str] = "dynamics/stochastic-burgers"
    summary: ClassVar[str] = "Burgers' equation on a circle with white noise"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (VISCOSITY, NOISE)

    def nonlinear(
        self, u: Float[Tensor, "*paths n"], p: Values
    ) -> Float[Tensor, "*paths n"] | None:
        k = self.wavenumbers.to(u)
        kept = k <= 2 / 3 * k[-1]
        clean = torch.fft.irfft(torch.fft.rfft(u) * kept, self.n)
        advection: Tensor = torch.fft.irfft(-0.5j * k * kept * torch.fft.rfft(clean**2), self.n)
        return advection

    def start(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return torch.sin(2 * math.pi / self.length * x)


class StochasticAllenCahn(Spde):
    """Allen and Cahn's equation with noise, du = (nu d2u/dx2 + u - u^3) dt + sigma dW.

    Two phases, u = 1 and -1, with walls tanh(x / sqrt(2 nu)) between them.

    Without unit. Good values: nu 0.01 to 0.1, sigma 0.1, n 64, dt 0.01.

    Limits: a circle; order one in dt.

    Source: S. M. Allen, J. W. Cahn, Acta Metall. 27, 1085 (1979); with noise: W. G. Faris,
    G. Jona-Lasinio, J. Phys. A 15, 3025 (1982).
    """

    part: ClassVar[str] = "dynamics/stochastic-allen-cahn"
    summary: ClassVar[str] = "two phases on a circle with white noise"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (VISCOSITY, NOISE)

    def nonlinear(
        self, u: Float[Tensor, "*paths n"], p: Values
    ) -> Float[Tensor, "*paths n"] | None:
        return u - u**3

    def start(self, x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return 0.1 * torch.sin(2 * math.pi / self.length * x)
