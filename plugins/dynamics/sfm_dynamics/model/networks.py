"""Small networks for closures: an energy, and rates. They learn in minutes on one core."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sfm.nn.descent import cosine, descend
from sfm_dynamics.simulators.hamiltonian import slope, turned


class Energy(nn.Module):
    """H(x): states (..., d) -> energies (...), a tanh perceptron; smooth, so rates are smooth.

    S. Greydanus, M. Dzamba, J. Yosinski, NeurIPS (2019), arXiv:1906.01563.
    """

    def __init__(self, d: int, width: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        self.layers = _perceptron((d, width, width, 1), seed)

    def forward(self, x: Tensor) -> Tensor:
        energy: Tensor = self.layers(x).squeeze(-1)
        return energy


class Rates(nn.Module):
    """dx/dt = f(x): states (..., d) -> rates (..., d), a tanh perceptron."""

    def __init__(self, d: int, width: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        self.layers = _perceptron((d, width, width, d), seed)

    def forward(self, x: Tensor) -> Tensor:
        rates: Tensor = self.layers(x)
        return rates


def _perceptron(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            linear = nn.Linear(a, b)
            nn.init.orthogonal_(linear.weight)
            layers += [linear, nn.Tanh()]
        return nn.Sequential(*layers[:-1]).double()


def rates_of(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """The rates that a network means: those of its Hamiltonian, or its own."""
    if isinstance(network, Energy):
        return lambda x: turned(slope(network, x))
    return network


def learn_rates(
    network: nn.Module,
    x: Tensor,
    rates: Tensor,
    *,
    steps: int = 2000,
    lr: float = 3e-3,
    batch: int | None = None,
    seed: int = 0,
) -> float:
    """Fit a network to rates (n, d) at states (n, d) by Adam with a cosine schedule.

    Args:
        network: `Energy` or `Rates`.
        x: states. rates: their time derivatives.
        steps: of the optimiser. lr: largest learning rate.
        batch: rows per step; all if None.
        seed: of the batches.

    Returns:
        The last loss: mean square error of the rates.

    Raises:
        RunError: the loss is not a finite number.
    """
    generator = torch.Generator().manual_seed(seed)
    predicted = rates_of(network)

    def loss(step: int) -> Tensor:
        rows: slice | Tensor = slice(None)
        if batch is not None and batch < len(x):
            rows = torch.randint(len(x), (batch,), generator=generator)
        return (predicted(x[rows]) - rates[rows]).square().mean()

    return descend(
        network,
        loss,
        work=f"rates of {type(network).__name__}",
        steps=steps,
        optimizer=torch.optim.Adam(network.parameters(), lr=lr),
        schedule=cosine(steps),
    ).losses[-1]
