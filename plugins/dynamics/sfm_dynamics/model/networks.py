"""Small networks for closures: an energy, and rates. They learn in seconds on one core.

Everything is in the units of the system that they stand for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.nn.descent import cosine, descend
from sfm_dynamics.minimise import minimise
from sfm_dynamics.simulators.hamiltonian import turned
from sfm_dynamics.simulators.lagrangian import motion
from sfm_dynamics.simulators.slope import slope


class Energy(nn.Module):
    """H(x): states (..., d) -> energies (...), a tanh perceptron; smooth, so rates are smooth.

    S. Greydanus, M. Dzamba, J. Yosinski, NeurIPS (2019), arXiv:1906.01563.
    """

    def __init__(self, d: int, width: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        self.layers = _perceptron((d, width, width, 1), seed)

    def forward(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states"]:
        energy: Tensor = self.layers(x).squeeze(-1)
        return energy


class Rates(nn.Module):
    """dx/dt = f(x): states (..., d) -> rates (..., d), a tanh perceptron.

    Args:
        d: number of variables. width: of the hidden layers. seed: of the weights.
        angles: the first so many variables enter by sine and cosine.
    """

    def __init__(self, d: int, width: int = 64, *, seed: int = 0, angles: int = 0) -> None:
        super().__init__()
        self.angles = angles
        self.layers = _perceptron((d + angles, width, width, d), seed)

    def forward(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states d"]:
        q = x[..., : self.angles]
        rates: Tensor = self.layers(torch.cat((q.sin(), q.cos(), x[..., self.angles :]), -1))
        return rates


class Mechanical(nn.Module):
    """L(q, v) = v M(q) v / 2 - V(q): states (..., 2n) -> (...), with M positive definite.

    M = C C^T + 0.01 with a lower triangle C, and V, are a tanh perceptron each; in sines and
    cosines of q if `periodic`. M. Lutter, C. Ritter, J. Peters, Deep Lagrangian networks, ICLR
    (2019), arXiv:1907.04490.
    """

    places: Tensor

    def __init__(self, n: int, width: int = 32, *, periodic: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.n, self.periodic = n, periodic
        seen = 2 * n if periodic else n
        self.mass = _perceptron((seen, width, width, n * (n + 1) // 2), seed)
        self.potential = _perceptron((seen, width, width, 1), seed + 1)
        count = n * (n + 1) // 2
        places = torch.full((n, n), count)  # the last entry is zero
        places[tuple(torch.tril_indices(n, n))] = torch.arange(count)
        self.register_buffer("places", places)

    def forward(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states"]:
        q, v = x.chunk(2, -1)
        seen = torch.cat((q.sin(), q.cos()), -1) if self.periodic else q
        entries = torch.cat((self.mass(seen), torch.zeros_like(seen[..., :1])), -1)
        triangle = entries[..., self.places]
        moved = (triangle.transpose(-1, -2) @ v.unsqueeze(-1)).squeeze(-1)
        kinetic = 0.5 * moved.square().sum(-1) + 0.005 * v.square().sum(-1)
        lagrangian: Tensor = kinetic - self.potential(seen).squeeze(-1)
        return lagrangian


def _perceptron(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            linear = nn.Linear(a, b)
            nn.init.orthogonal_(linear.weight)
            layers += [linear, nn.Tanh()]
        return nn.Sequential(*layers[:-1]).double()


def rates_of(
    network: nn.Module,
) -> Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]]:
    """The rates (..., d) that a network means: of its Hamiltonian, its Lagrangian, or its own."""
    if isinstance(network, Energy):
        return lambda x: turned(slope(network, x))
    if isinstance(network, Mechanical):
        return lambda x: motion(network, x)
    return network


def learn_rates(
    network: nn.Module,
    x: Float[Tensor, "n d"],
    rates: Float[Tensor, "n d"],
    *,
    steps: int = 2000,
    lr: float = 3e-3,
    batch: int | None = None,
    polish: int = 0,
    seed: int = 0,
) -> float:
    """Fit a network to rates (n, d) at states (n, d) by Adam with a cosine schedule.

    Args:
        network: `Energy`, `Mechanical` or `Rates`.
        x: states. rates: their time derivatives.
        steps: of Adam. lr: largest learning rate.
        batch: rows per step; all if None.
        polish: iterations of L-BFGS on all rows afterwards: for data without noise.
        seed: of the batches.

    Returns:
        The last loss: mean square error of the rates.

    Raises:
        RunError: the loss is not a finite number.
    """
    generator = torch.Generator().manual_seed(seed)
    predicted = rates_of(network)

    def error(rows: slice | Tensor) -> Tensor:
        return (predicted(x[rows]) - rates[rows]).square().mean()

    def loss(step: int) -> Tensor:
        if batch is None or batch >= len(x):
            return error(slice(None))
        return error(torch.randint(len(x), (batch,), generator=generator))

    last = descend(
        network,
        loss,
        work=f"rates of {type(network).__name__}",
        steps=steps,
        optimizer=torch.optim.Adam(network.parameters(), lr=lr),
        schedule=cosine(steps),
    ).losses[-1]
    if polish:
        last = minimise(lambda: error(slice(None)), list(network.parameters()), polish)
    return last
