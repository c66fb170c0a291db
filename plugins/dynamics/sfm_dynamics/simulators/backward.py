"""`dynamics/deep-bsde`: semilinear parabolic equations in many dimensions, along random paths.

A solution of du/dt + b . grad u + sum (sigma_i^2 d2u/dx_i^2) / 2 + f(x, u, z) = 0 with u(T, x) =
g(x) and z_i = sigma_i du/dx_i obeys, along dX = b dt + sigma dW, the backward equation

    dY = -f(X, Y, Z) dt + Z . dW,   Y(t) = u(t, X(t)),   Y(T) = g(X(T))

E. Pardoux, S. Peng, Syst. Control Lett. 14, 55 (1990); W. E, J. Han, A. Jentzen, Commun. Math.
Stat. 5, 349 (2017), doi:10.1007/s40304-017-0117-6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sfm.errors import InputError, RunError
from sfm.quantity import Quantity
from sfm.simulate import Parameter, Setting, Trajectory
from sfm.simulate.rollout import rollout
from sfm.simulate.step import AutogradStep
from sfm_dynamics.quantities import MISMATCH, STATE
from sfm_dynamics.simulators.backward_problems import PROBLEMS, Parabolic
from sfm_dynamics.simulators.noise import wiener
from sfm_dynamics.simulators.system import System


class Paths(NamedTuple):
    """Places x (n, d), values y (n,) of the solution there, and the time ()."""

    x: Float[Tensor, "n d"]
    y: Float[Tensor, " n"]
    time: Float[Tensor, ""]


class DeepBsde(System):
    """A semilinear parabolic equation by its backward stochastic equation, Z being the closure.

        dX = b(X) dt + sigma(X) dW,   dY = -f(X, Y, Z) dt + Z . dW,   Y(0) = value

    The closure is a module from (t, x) (n, 1 + d) to Z (n, d), for instance
    `sfm_dynamics.model.backward.Slopes`; `sfm_dynamics.model.backward.solve` trains it and `value`
    until Y(T) = g(X(T)): then `value` is u(0, x_0). Without a closure Z is zero, and the mean
    mismatch is that of plain Monte Carlo. `problem`:

        hamilton-jacobi-bellman   f = -|z|^2 / 2, g = ln((1 + |x|^2) / 2)
        geometric-basket          a call on the geometric mean of d shares (Black and Scholes)
        burgers                   f = (u - 3/2) sum z / sqrt(d), g a logistic front
        reaction-diffusion        an oscillation, f = min(1, (u - u*)^2)

    Without unit; T = 1. Good values: dt 0.05, 64 paths, 100 dimensions.

    Limits: one start x_0, diagonal sigma; Euler steps, whose bias is of order dt.

    Source: W. E, J. Han, A. Jentzen (2017), arXiv:1706.04702.
    """

    value: Tensor
    part: ClassVar[str] = "dynamics/deep-bsde"
    summary: ClassVar[str] = "parabolic equations in 100 dimensions along random paths"
    parameters_spec: ClassVar[tuple[Parameter, ...]] = (
        Parameter("value", "1", 0.0, -1e6, 1e6, "u(0, x_0), the solution that is looked for"),
    )
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("problem", "hamilton-jacobi-bellman", tuple(PROBLEMS), summary="the equation"),
        Setting("dim", 100, summary="number of dimensions"),
        Setting("dt", 0.05, summary="time step; T = 1"),
        Setting("paths", 64, summary="number of realisations"),
        Setting("seed", 0, summary="of the noise"),
    )
    closure_quantity: ClassVar[str | None] = "state"
    observables: ClassVar[tuple[Quantity, ...]] = (STATE, MISMATCH)
    citations: ClassVar[tuple[str, ...]] = (
        "arXiv:1706.04702",
        "doi:10.1007/s40304-017-0117-6",
    )
    default_steps: ClassVar[int] = 20
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg")

    problem: str
    dim: int
    dt: float
    paths: int
    seed: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("dim", "dt", "paths")

    @property
    def equation(self) -> Parabolic:
        """The equation and its exact value."""
        return PROBLEMS[self.problem]

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[DeepBsde, Paths]:
        """Three dimensions, four paths."""
        simulator = cls(closure=_Radial(), **{"dim": 3, "paths": 4, "value": 0.3, **values})
        return simulator, simulator.state()

    def state(self, sample: Any = None) -> Paths:
        """All paths at x_0, with `value`.

        Raises:
            InputError: a sample is given: a problem knows its start.
        """
        if sample is not None:
            raise InputError(f"{self.part}: starts where its problem says, not from a sample")
        zeros = torch.zeros((self.paths, self.dim), dtype=self.dtype, device=self.value.device)
        y = self.value.expand(self.paths).clone()  # `solve` changes the value before backward
        return Paths(zeros + self.equation.start, y, self.value.new_zeros(()))

    def forward(self, state: Paths, steps: int = 1, seed: int | None = None) -> Paths:
        """The paths after `steps` steps; with the noise of another seed, if one is given.

        Raises:
            RunError: a value is no longer finite.
        """
        seed = self.seed if seed is None else seed
        first = round(float(state.time.detach()) / self.dt)
        weights = {} if self.closure is None else dict(self.closure.named_parameters())
        equation, closure, h = self.equation, self.closure, self.dt

        def advance(moving: Any, number: int, *tensors: Tensor) -> Any:
            x, y = moving
            now = h * (first + number)
            dw = wiener(x, h, seed=seed, number=first + number)
            z = torch.zeros_like(x)
            if closure is not None:
                seen = torch.cat((torch.full_like(x[:, :1], now), x), -1)
                held = dict(zip(weights, tensors, strict=True))
                z = torch.func.functional_call(closure, held, (seen,))
            driver = equation.driver(now, x, y, z)
            moved = x + equation.drift(x) * h + equation.volatility(x) * dw
            return moved, y - driver * h + (z * dw).sum(-1)

        x, y = rollout(AutogradStep(advance), (state.x, state.y), tuple(weights.values()), steps)
        if not bool(torch.isfinite(y).all()):
            raise RunError(f"{self.part}: a value is not finite; use a smaller dt than {h:g}")
        return Paths(x, y, state.time + steps * h)

    def observe(self, state: Paths) -> dict[str, Shaped[Tensor, " ..."]]:
        """Y (n, 1), and Y - g(X) (n,), which says something at T only."""
        return {
            "state": state.y.unsqueeze(-1),
            "terminal_mismatch": state.y - self.equation.terminal(state.x),
        }

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """Values along some paths, their mean, and the spread of all."""
        from sfm_dynamics.figures import plot_paths

        plot_paths(trajectory, path)


class _Radial(nn.Module):
    """Z = sin(x) (1 + t)."""

    def forward(self, seen: Tensor) -> Tensor:
        return seen[:, 1:].sin() * (1 + seen[:, :1])
