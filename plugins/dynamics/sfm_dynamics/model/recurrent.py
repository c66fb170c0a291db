"""Symplectic recurrent networks: H = T(p) + V(q), learned from states alone, through leapfrog.

    loss = mean over windows of sum_k |leapfrog^k(x_0; H) - x_k|^2 / scale^2

No rates are needed: the integrator that runs the network is the one that it was trained with.

Source: Z. Chen, J. Zhang, M. Arjovsky, L. Bottou, ICLR (2020), arXiv:1909.13334; their estimate of
the first state, for noisy data, is left out. Everything is in the units of the system.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm_dynamics.minimise import minimise
from sfm_dynamics.model.networks import Energy
from sfm_dynamics.simulators import symplectic
from sfm_dynamics.simulators.slope import slope


class Separable(nn.Module):
    """H(q, p) = T(p) + V(q): states (..., 2n) -> energies (...), a tanh perceptron each."""

    def __init__(self, n: int, width: int = 64, *, seed: int = 0) -> None:
        super().__init__()
        self.kinetic = Energy(n, width, seed=seed)
        self.potential = Energy(n, width, seed=seed + 1)

    def forward(self, x: Float[Tensor, "*states d"]) -> Float[Tensor, "*states"]:
        q, p = x.chunk(2, -1)
        energy: Tensor = self.kinetic(p) + self.potential(q)
        return energy


def leapfrog(
    network: Separable, dt: float
) -> Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]]:
    """States (..., 2n) -> states a time `dt` later, by one step."""

    def advance(x: Tensor) -> Tensor:
        q, p = x.chunk(2, -1)
        q, p = symplectic.step(
            "leapfrog",
            lambda q, p: slope(network.potential, q),
            lambda q, p: slope(network.kinetic, p),
            q,
            p,
            dt,
        )
        return torch.cat((q, p), -1)

    return advance


def learn_runs(
    network: Separable,
    states: Float[Tensor, "T n d"],
    dt: float,
    *,
    window: int = 5,
    iterations: int = 300,
) -> float:
    """Fit a network to states (T, n, d), `dt` apart, of n runs, by L-BFGS through leapfrog.

    Args:
        network: trained in place.
        states: without noise.
        dt: time between them, and the step.
        window: steps that a run makes from each state; fewer if T says so.
        iterations: of L-BFGS, at most.

    Returns:
        The last loss.

    Raises:
        RunError: the loss is not a finite number.
    """
    advance = leapfrog(network, dt)
    window = min(window, len(states) - 1)
    scale = states.reshape(-1, states.shape[-1]).std(0)
    starts = len(states) - window

    def loss() -> Tensor:
        x, total = states[:starts], states.new_zeros(())
        for k in range(1, window + 1):
            x = advance(x)
            total = total + ((x - states[k : starts + k]) / scale).square().mean()
        return total / window

    return minimise(loss, list(network.parameters()), iterations)
