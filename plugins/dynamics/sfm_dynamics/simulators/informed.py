"""`dynamics/pinn`: a system's solution as a network that is trained on the residual."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.quantity import Quantity
from sfm.registry import find
from sfm.simulate import Setting, Trajectory
from sfm_dynamics.pinn.network import Pinn
from sfm_dynamics.pinn.training import mismatches, train
from sfm_dynamics.quantities import RESIDUAL, STATE
from sfm_dynamics.simulators.ode import Ode
from sfm_dynamics.simulators.system import System

SYSTEMS = (
    "mass-spring",
    "pendulum",
    "double-pendulum",
    "kepler",
    "lotka-volterra",
    "lorenz-63",
    "van-der-pol",
    "fitzhugh-nagumo",
)
SHOWN = 101  # times at which the solution is observed


class Guess(NamedTuple):
    """Weights (P,) of the network, and the number of rounds () of training."""

    weights: Float[Tensor, " P"]
    time: Float[Tensor, ""]


class Informed(System):
    """A solution of dx/dt = f(x) as a network of time: a physics-informed neural network.

        minimise  sum_i w_i |dx/dt(t_i) - f(x(t_i))|^2 + jumps between windows

    over 0 to `span` of a system's time, from its well-known start, which holds exactly. One step is
    a round of least squares; the states are those of a search. For unknown parameters and data call
    `sfm_dynamics.pinn.training.train`.

    In the system's units. Good values: one window for each period or fast time; features (Fourier,
    in periods per window) of a few where a window holds several periods; causality 1 where late
    times are hard.

    Limits: a classical solver is up to hundreds of times quicker (theory page); high frequencies
    are missed without features or windows; the observables carry no gradient.

    Source: M. Raissi, P. Perdikaris, G. E. Karniadakis, J. Comput. Phys. 378, 686 (2019).
    """

    part: ClassVar[str] = "dynamics/pinn"
    summary: ClassVar[str] = "a solution as a physics-informed network"
    settings_spec: ClassVar[tuple[Setting, ...]] = (
        Setting("system", "lotka-volterra", SYSTEMS, summary="whose equation is solved"),
        Setting("span", 4.0, summary="time that is covered, in the system's unit"),
        Setting("windows", 2, summary="subdomains of time with a network each"),
        Setting("width", 16, summary="of the hidden layers"),
        Setting("depth", 2, summary="number of hidden layers"),
        Setting("features", 0.0, summary="spread of Fourier features, periods per window; 0: none"),
        Setting("points", 30, summary="collocation points per window"),
        Setting("iterations", 10, summary="of Levenberg and Marquardt in one round"),
        Setting("causality", 0.0, summary="epsilon of the causal weights; 0: equal weights"),
        Setting("tolerance", 0.01, summary="residual, relative to scale, that counts as solved"),
        Setting("seed", 0, summary="of weights and frequencies"),
    )
    observables: ClassVar[tuple[Quantity, ...]] = (STATE, RESIDUAL)
    citations: ClassVar[tuple[str, ...]] = ("doi:10.1016/j.jcp.2018.10.045", "arXiv:2203.07404")
    default_steps: ClassVar[int] = 10
    plots_to: ClassVar[tuple[str, ...]] = (".png", ".pdf", ".svg")

    system: str
    span: float
    windows: int
    width: int
    depth: int
    features: float
    points: int
    iterations: int
    causality: float
    tolerance: float
    seed: int

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.positive("span", "windows", "width", "depth", "points", "iterations", "tolerance")
        if self.features < 0 or self.causality < 0:
            raise InputError(f"{self.part}: features and causality must not be negative")
        self._ode: Ode = find("simulators", f"dynamics/{self.system}").load()(dtype=self.dtype)
        self._ode.requires_grad_(False)

    @classmethod
    def conformance_case(cls, **values: Any) -> tuple[Informed, Guess]:
        """Four weights a layer, three iterations a round."""
        simulator = cls(**{"width": 4, "points": 8, "iterations": 3, **values})
        return simulator, simulator.state()

    def network(self, weights: Float[Tensor, " P"] | None = None) -> Pinn:
        """The solution with these weights (P,); as it starts if None."""
        start = self._ode.state().values
        network = Pinn(
            start,
            self.span,
            scale=start.abs().clamp_min(0.1 * float(start.abs().max())),
            width=self.width,
            depth=self.depth,
            features=self.features,
            windows=self.windows,
            seed=self.seed,
        )
        if weights is not None:
            vector_to_parameters(weights.detach().clone(), network.parameters())
        return network

    def state(self, sample: Sample | None = None) -> Guess:
        """An untrained network.

        Raises:
            InputError: a sample is given: the system knows its start.
        """
        if sample is not None:
            raise InputError(f"{self.part}: starts where {self.system} does, not from a sample")
        weights = parameters_to_vector(self.network().parameters()).detach()
        return Guess(weights, weights.new_zeros(()))

    def forward(self, state: Guess, steps: int = 1) -> Guess:
        """The network after `steps` rounds of training."""
        network = self.network(state.weights)
        with torch.enable_grad():
            train(
                network,
                self._ode.field(),
                points=self.points,
                rounds=steps,
                iterations=self.iterations,
                causality=self.causality,
            )
        return Guess(parameters_to_vector(network.parameters()).detach(), state.time + steps)

    @torch.no_grad()
    def observe(self, state: Guess) -> dict[str, Shaped[Tensor, " ..."]]:
        """The solution (101, d) at equal times of the span, and its residual ()."""
        network = self.network(state.weights)
        residual, _ = mismatches(network, self._ode.field(), self.points)
        times = torch.linspace(0, self.span, SHOWN, dtype=self.dtype)
        return {"state": network.at(times), "residual": residual.square().mean().sqrt()}

    def converged(self, state: Guess) -> bool | None:
        return float(self.observe(state)["residual"]) < self.tolerance

    def warnings(self, state: Guess) -> tuple[str, ...]:
        if self.converged(state):
            return ()
        return (f"the residual is above {self.tolerance:g}: more steps, windows or features",)

    def plot(self, trajectory: Trajectory, path: Path) -> None:
        """The network's solution beside that of the classical solver."""
        from sfm_dynamics.figures import plot_beside

        steps = SHOWN - 1
        kind = type(self._ode)
        ode = kind(method="dopri5", dt=self.span / steps, dtype=self.dtype).requires_grad_(False)
        solved = ode.run(ode.state(), steps, every=1)
        learned = trajectory.observables["state"][-1]
        plot_beside(solved, learned.numpy(), ode.names, path)
