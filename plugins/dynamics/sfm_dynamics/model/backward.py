"""Training `dynamics/deep-bsde`: a network of slopes, and the value that the paths start from.

Everything is without unit. W. E, J. Han, A. Jentzen (2017), arXiv:1706.04702.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm.nn.descent import cosine, descend
from sfm_dynamics.simulators.backward import DeepBsde
from sfm_dynamics.simulators.backward_problems import HORIZON

FOLLOWING = 0.2  # share of the mean mismatch that the value gives up in the first steps
FRESH = 10**6  # seeds of paths that nothing is trained on


class Slopes(nn.Module):
    """Z(t, x) = a(t, x) x + c(t, x), (n, 1 + d) -> (n, d); a () and c (d,) by a tanh perceptron.

    The perceptron sees t, x, the mean of x^2 and the sum of x over sqrt(d), so that solutions that
    are radial or waves along the diagonal are found at once; others need more iterations. Z is
    counted in `unit`, which `solve` sets.

    Args:
        d: dimensions. width: of the hidden layers.
        scale: typical size of x. seed: of the weights.
    """

    unit: Tensor

    def __init__(self, d: int, width: int = 32, *, scale: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = nn.Sequential(
                nn.Linear(3 + d, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()
            ).double()
            self.outer = nn.Linear(width, d + 1).double()
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, seen: Float[Tensor, "n variables"]) -> Float[Tensor, "n d"]:
        t, x = seen[:, :1], seen[:, 1:] / self.scale
        square = x.square().mean(-1, keepdim=True)
        spread = x.shape[-1] ** 0.5
        along = x.sum(-1, keepdim=True) / spread
        outputs = self.outer(self.inner(torch.cat((t, square, along, x / spread), -1)))
        slopes: Tensor = self.unit * (outputs[:, :1] * x + outputs[:, 1:])
        return slopes


@dataclass(frozen=True)
class Solution:
    """What training found.

    Attributes:
        value: u(0, x_0), the mean over the last quarter of the training.
        mismatch: root mean square of Y(T) - g(X(T)) on fresh paths.
        history: (iterations,) of the value.
    """

    value: float
    mismatch: float
    history: Tensor


def solve(simulator: DeepBsde, *, iterations: int = 1000, lr: float = 1e-2) -> Solution:
    """Train the closure by Adam, and `value` with it, until the paths end at g; in place.

    Every iteration has paths of its own. The loss is E (Y(T) - g(X(T)))^2; the value starts at the
    mean of g and follows the mean of Y(T) - g(X(T)).

    Args:
        simulator: with a closure, for instance `Slopes`.
        iterations: of Adam. lr: largest learning rate, of a cosine schedule.

    Raises:
        InputError: there is no closure.
        RunError: the loss is not a finite number.
    """
    if simulator.closure is None:
        raise InputError(f"{simulator.part}: needs a closure that says Z, such as Slopes(dim)")
    steps = round(HORIZON / simulator.dt)
    closure = simulator.closure

    def mismatch(number: int) -> Tensor:
        seed = 2 * FRESH * simulator.seed + number  # no two seeds share a path
        end = simulator(simulator.state(), steps, seed)
        return simulator.observe(end)["terminal_mismatch"]

    with torch.no_grad():
        simulator.closure = None
        first = torch.cat([mismatch(FRESH + i) for i in range(4)])
        simulator.closure = closure
        simulator.value -= first.mean()
        spread = float(first.std())
        if isinstance(closure, Slopes):
            closure.unit.fill_(spread / simulator.dim**0.5)
    history: list[float] = []
    fading = cosine(iterations)

    def loss(step: int) -> Tensor:
        off = mismatch(step)
        with torch.no_grad():
            simulator.value -= FOLLOWING * fading(step) * off.mean()
        history.append(float(simulator.value.detach()))
        return (off / spread).square().mean()

    descend(
        closure,
        loss,
        work=f"{simulator.part}: {simulator.problem}",
        steps=iterations,
        optimizer=torch.optim.Adam(closure.parameters(), lr=lr),
        schedule=fading,
    )
    with torch.no_grad():
        left = torch.cat([mismatch(FRESH + i) for i in range(4)])
    values = torch.tensor(history, dtype=torch.float64)
    value = float(values[-max(1, iterations // 4) :].mean())
    return Solution(value, float(left.square().mean().sqrt()), values)
