"""`Sde`: stochastic differential equations with diagonal noise, and two with closed forms.

States and times in the system's own units.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Observations, Parameter, Setting, Simulator, Trajectory
from sfm_dynamics.simulators.noise import Noisy, mean_of_exp
from sfm_dynamics.simulators.slope import slope
from sfm_dynamics.simulators.system import State, Values
from sfm_dynamics.simulators.transitions import read_paths

METHODS = ("euler-maruyama", "milstein", "heun")


def sde_settings(dt: float, unit: str = "1", method: str = "milstein") -> tuple[Setting, ...]:
    """The settings that every `Sde` has."""
    return (
        Setting("dt", dt, unit=unit, summary="time step"),
        Setting("method", method, METHODS, summary="strong order 0.5, 1, and 1 (Stratonovich)"),
        Setting("paths", 256, summary="number of realisations of the default state"),
        Setting("seed", 0, summary="of the noise"),
    )


class Sde(Noisy):
    """dX = a(X) dt + b(X) dW in Ito's sense, with independent noise in every component.

        euler-maruyama  X + a h + b dW
        milstein        ... + b b' (dW^2 - h) / 2
        heun            trapezoidal steps of the equivalent Stratonovich equation, a - b b' / 2

    P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations (1992).
    """

    closure_quantity: ClassVar[str | None] = None
    settings_spec: ClassVar[tuple[Setting, ...]] = sde_settings(0.01)
    variables: ClassVar[tuple[str, ...]] = ("x",)

    method: str
    paths: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("dt", "paths")

    @abstractmethod
    def drift(self, x: Float[Tensor, "*paths d"], p: Values) -> Float[Tensor, "*paths d"]:
        """a(x), (..., d)."""

    @abstractmethod
    def diffusion(self, x: Float[Tensor, "*paths d"], p: Values) -> Float[Tensor, "*paths d"]:
        """b(x), (..., d); component i depends on x_i only."""

    @abstractmethod
    def start(self) -> float:
        """Where every path starts."""

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Simulator, State]:
        """Four paths."""
        simulator = cls(**{"paths": 4, "dt": 0.05, **values})
        return simulator, simulator.state()

    def state(self, sample: Any = None) -> State:
        """`paths` realisations (paths, 1) at the start, or at the sample's field `state` (1,)."""
        first = torch.tensor([self.start()], dtype=self.dtype)
        if sample is not None:
            if "state" not in sample.fields or sample.fields["state"].shape != (1,):
                raise InputError(f"{sample.id}: no field 'state' (1,), which {self.part} needs")
            first = torch.as_tensor(sample.fields["state"], dtype=self.dtype)
        like = next(self.parameters())
        return State(first.to(like.device).expand(self.paths, 1).clone(), like.new_zeros(()))

    def step(
        self, x: Float[Tensor, "*paths d"], dw: Float[Tensor, "*paths d"], p: Values
    ) -> Float[Tensor, "*paths d"]:
        h = self.dt
        a, b = self.drift(x, p), self.diffusion(x, p)
        if self.method == "euler-maruyama":
            return x + a * h + b * dw
        slope = self._slope(x, p)
        if self.method == "milstein":
            return x + a * h + b * dw + 0.5 * b * slope * (dw * dw - h)
        a = a - 0.5 * b * slope
        guess = x + a * h + b * dw
        b1, slope1 = self.diffusion(guess, p), self._slope(guess, p)
        a1 = self.drift(guess, p) - 0.5 * b1 * slope1
        return x + 0.5 * (a + a1) * h + 0.5 * (b + b1) * dw

    def scale(self, x: Float[Tensor, "*paths"]) -> Float[Tensor, "*paths"]:
        """A function of x whose increments over equal times have one spread; x itself here.

        Raises:
            InputError: values that the process cannot have.
        """
        return x

    def law(
        self, x: Float[Tensor, "*paths"], p: Values, span: float
    ) -> tuple[Float[Tensor, "*paths"], Float[Tensor, "*paths"]]:
        """Mean and variance (...) of `scale` a time `span` after x (...).

        Raises:
            InputError: there is no closed form.
        """
        raise InputError(f"{self.part}: has no closed law of its steps, so it cannot be fitted yet")

    def read_observations(self, path: Path) -> Observations:
        """Paths at equal intervals: `.csv`, a column for each, or `.npz` as runs write it.

        Drift and noise are found together, by maximum likelihood of each value given the one before
        it. Errors of measurement are taken for noise of the process.

        Raises:
            InputError: the file is unusable; see `sfm_dynamics.simulators.transitions`.
        """
        times, paths = read_paths(path)
        x = torch.from_numpy(paths).to(self.dtype)
        before, after = self.scale(x[:-1]).flatten(), self.scale(x[1:]).flatten()
        guess = _spread(before, after)
        if not guess > 0:
            raise InputError(f"{path}: {len(after)} steps without noise tell nothing of it")
        zeros = torch.zeros_like(after)
        return Observations(
            state=State(x[0].unsqueeze(-1), x.new_tensor(times[0])),
            values={"standard_step": zeros, "log_spread": zeros},
            units={"standard_step": "1", "log_spread": "1"},
            sigma={"standard_step": 1.0, "log_spread": 1.0},
            options={
                "before": x[:-1].flatten(),
                "after": after,
                "guess": guess,
                "interval": float(times[-1] - times[0]) / (len(times) - 1),
            },
        )

    def predict_observations(self, observations: Observations) -> dict[str, Float[Tensor, " n"]]:
        """Two numbers (n,) whose squares add up to -2 log likelihood, but for a constant.

        (x - mean) / sqrt(variance), and sqrt(1 + log(variance / guess)): about the guess Gauss and
        Newton's matrix of both is Fisher's information, so errors are those of the likelihood.
        """
        given = observations.options
        mean, variance = self.law(given["before"], self.values(), given["interval"])
        z = 1 + (variance / given["guess"]).log()
        # far below the guess, where the first number is large, the tangent goes on
        root = torch.where(z > 0.25, z.clamp_min(0.25).sqrt(), z + 0.25)
        return {"standard_step": (given["after"] - mean) / variance.sqrt(), "log_spread": root}

    def _slope(self, x: Tensor, p: Values) -> Tensor:
        """b'(x), component by component."""
        return slope(lambda y: self.diffusion(y, p), x)

    def plot(self, trajectory: Trajectory, path: Any) -> None:
        """Some paths, their mean, and the spread of all."""
        from sfm_dynamics.figures import plot_paths

        plot_paths(trajectory, path)


def _spread(before: Tensor, after: Tensor) -> float:
    """Variance of the steps of (n,) values about a line through them."""
    line = torch.stack((torch.ones_like(before), before), -1)
    fit = torch.linalg.lstsq(line, after.unsqueeze(-1), driver="gelsd").solution
    off = after - (line @ fit).squeeze(-1)
    rounding = 1e-20 * float(after.square().mean())
    return max(float(off.square().mean()) - rounding, 0.0)


class GeometricBrownianMotion(Sde):
    """The price of a share, dX = mu X dt + sigma X dW.

    X(t) = X(0) exp((mu - sigma^2 / 2) t + sigma W(t)); the mean grows as exp(mu t).

    Without unit (time in years in finance). Good values: mu 0.05, sigma 0.2, dt 0.01.

    Limits: constant volatility.

    Source: F. Black, M. Scholes, J. Polit. Econ. 81, 637 (1973).
    """

    initial: Tensor
    part: ClassVar[str] = "dynamics/geometric-brownian-motion"
    summary: ClassVar[str] = "geometric Brownian motion"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("mu", "1", 0.05, -100.0, 100.0, "drift; 0.05"),
        Parameter("sigma", "1", 0.2, 0.0, 100.0, "volatility; 0.2"),
        Parameter("initial", "1", 1.0, 1e-12, 1e12, "X(0) of the default state; 1"),
    )
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1086/260062",)

    def start(self) -> float:
        return 1.0

    def state(self, sample: Any = None) -> State:
        start = super().state(sample)
        return start._replace(values=start.values * self.initial) if sample is None else start

    def scale(self, x: Float[Tensor, "*paths"]) -> Float[Tensor, "*paths"]:
        if not bool((x > 0).all()):
            raise InputError(f"{self.part}: prices must be positive")
        return x.log()

    def law(
        self, x: Float[Tensor, "*paths"], p: Values, span: float
    ) -> tuple[Float[Tensor, "*paths"], Float[Tensor, "*paths"]]:
        variance = p["sigma"].square() * span
        return x.log() + p["mu"] * span - 0.5 * variance, variance.expand_as(x)

    def drift(self, x: Float[Tensor, "*paths d"], p: Values) -> Float[Tensor, "*paths d"]:
        return p["mu"] * x

    def diffusion(self, x: Float[Tensor, "*paths d"], p: Values) -> Float[Tensor, "*paths d"]:
        return p["sigma"] * x


class OrnsteinUhlenbeck(Sde):
    """A particle in a viscous fluid that is pulled back, dX = theta (mu - X) dt + sigma dW.

    Stationary mean mu and variance sigma^2 / (2 theta); correlations decay as exp(-theta t).

    Without unit. Good values: theta 1, mu 0, sigma 1 (the defaults), dt 0.01.

    Limits: Gaussian.

    Source: G. E. Uhlenbeck, L. S. Ornstein, Phys. Rev. 36, 823 (1930).
    """

    part: ClassVar[str] = "dynamics/ornstein-uhlenbeck"
    summary: ClassVar[str] = "the Ornstein-Uhlenbeck process"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("theta", "1", 1.0, 0.0, 1e6, "rate of return; 1"),
        Parameter("mu", "1", 0.0, -1e6, 1e6, "mean; 0"),
        Parameter("sigma", "1", 1.0, 0.0, 1e6, "noise; 1"),
    )
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1103/PhysRev.36.823",)

    def start(self) -> float:
        return 0.0

    def law(
        self, x: Float[Tensor, "*paths"], p: Values, span: float
    ) -> tuple[Float[Tensor, "*paths"], Float[Tensor, "*paths"]]:
        rate = p["theta"] * span
        mean = p["mu"] + (x - p["mu"]) * torch.exp(-rate)
        variance = p["sigma"].square() * span * mean_of_exp(-2 * rate)
        return mean, variance.expand_as(x)

    def drift(self, x: Float[Tensor, "*paths d"], p: Values) -> Float[Tensor, "*paths d"]:
        return p["theta"] * (p["mu"] - x)

    def diffusion(self, x: Float[Tensor, "*paths d"], p: Values) -> Float[Tensor, "*paths d"]:
        return p["sigma"].expand_as(x)
