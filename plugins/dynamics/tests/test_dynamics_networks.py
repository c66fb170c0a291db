"""Networks for closures, trained on rates."""

from __future__ import annotations

import torch
from sfm_dynamics.model.networks import Energy, Rates, learn_rates, rates_of


def pendulum(count, seed):
    """States (q, p) on a disc and their rates (p, -sin q)."""
    g = torch.Generator().manual_seed(seed)
    x = 2.0 * torch.rand(count, 2, generator=g, dtype=torch.float64) - 1.0
    return x, torch.stack([x[:, 1], -torch.sin(x[:, 0])], 1)


def test_a_network_learns_the_rates_of_a_pendulum():
    """Few steps; the error at unseen states is a few percent of the rates', as is the last loss."""
    x, rates = pendulum(60, 0)
    unseen, exact = pendulum(40, 1)
    for network in (Energy(2, 16), Rates(2, 16)):
        last = learn_rates(network, x, rates, steps=300, lr=1e-2, batch=30)
        assert last < 1e-3 * float(rates.square().mean())
        error = (rates_of(network)(unseen) - exact).square().mean()
        assert float(error.detach()) < 3e-3 * float(exact.square().mean())


def test_training_is_the_same_each_time_and_the_seed_matters():
    x, rates = pendulum(20, 0)
    ends = [learn_rates(Rates(2, 8), x, rates, steps=5, batch=4, seed=s) for s in (0, 0, 1)]
    assert ends[0] == ends[1] != ends[2]
