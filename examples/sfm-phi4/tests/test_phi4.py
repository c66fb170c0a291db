"""The theory against exact values: free propagator, derivatives, symmetries, densities."""

from __future__ import annotations

import torch
from sfm_phi4.flow import Flow, effective, log_weights
from sfm_phi4.sampling import HybridMonteCarlo
from sfm_phi4.theory import action, drift, free_phi_squared

from sfm.testing.conformance import parametrize_checks


@parametrize_checks("phi4")
def test_conformance(check):
    check()


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_the_free_value():
    assert abs(free_phi_squared(8, 1.0) - 0.254174) < 1e-6


def test_the_drift_is_minus_the_derivative_of_the_action():
    phi = noise(2, 5, 5).requires_grad_()
    (slope,) = torch.autograd.grad(action(phi, -1.0, 0.7).sum(), phi)
    assert torch.allclose(drift(phi, -1.0, 0.7), -slope, rtol=1e-12)


def hmc(m2, coupling, *, chains=256, steps=40):
    """<phi^2> with its standard error, from independent chains."""
    sampler = HybridMonteCarlo(m2=m2, coupling=coupling, chains=chains, leapfrogs=10)
    with torch.no_grad():
        state = sampler(sampler.state(), 60)
        values = []
        for _ in range(steps):
            state = sampler(state)
            values.append(sampler.observe(state)["phi_squared"])
    accepted = sampler.observe(state)["accepted"].mean()
    means = torch.stack(values).mean(0)  # one number of each chain: they are independent
    return float(means.mean()), float(means.std() / chains**0.5), float(accepted)


def test_hybrid_monte_carlo_meets_the_free_theory():
    mean, error, accepted = hmc(1.0, 0.0)
    assert abs(mean - 0.254174) < 3.5 * error  # one in two thousand seeds fails; this one is fixed
    assert error < 0.001
    assert accepted > 0.8


def test_the_flow_has_the_symmetries_of_the_lattice():
    flow = Flow(6)
    with torch.no_grad():
        flow.waves += 0.05 * noise(*flow.waves.shape)
    z = noise(3, 6, 6, seed=1)
    phi, log_q = flow(z)
    for move in (
        lambda a: a.roll((1, 2), (-2, -1)),
        lambda a: a.rot90(1, (-2, -1)),
        lambda a: a.flip(-1),
        lambda a: -a,
    ):
        moved, same = flow(move(z))
        assert torch.allclose(moved, move(phi), atol=1e-12)
        assert torch.allclose(same, log_q, atol=1e-10)


def test_the_flow_knows_its_density():
    """Against the determinant of the whole Jacobian, which autograd makes."""
    flow = Flow(3)
    with torch.no_grad():
        flow.waves += 0.1 * noise(*flow.waves.shape)
    z = noise(1, 3, 3)
    jacobian = torch.autograd.functional.jacobian(lambda a: flow(a, 40)[0], z).reshape(9, 9)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum() - jacobian.slogdet()[1]
    assert abs(float(flow(z, 40)[1].detach() - density)) < 1e-6


def test_the_free_flow_is_exact():
    phi, log_w = log_weights(Flow(8), noise(4000, 8, 8), 1.0, 0.0)
    assert effective(log_w.detach()) > 0.999
    each = phi.detach().square().mean((-2, -1))
    assert abs(float(each.mean()) - 0.254174) < 3.5 * float(each.std()) / 4000**0.5


def test_training_improves_the_flow_and_it_agrees_with_hybrid_monte_carlo():
    m2, coupling = -2.0, 1.0
    flow = Flow(6, m2=1.0)
    before = effective(log_weights(flow, noise(2000, 6, 6), m2, coupling)[1].detach())
    optimiser = torch.optim.Adam(flow.parameters(), lr=0.01)
    for step in range(150):
        loss = -log_weights(flow, noise(64, 6, 6, seed=10 + step), m2, coupling)[1].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        phi, log_w = log_weights(flow, noise(2000, 6, 6), m2, coupling)
    after = effective(log_w)
    print(f"effective sample size {before:.2f} -> {after:.2f}")
    assert after > max(0.7, 1.5 * before)
    weights = torch.softmax(log_w, 0)
    each = phi.square().mean((-2, -1))
    mean = (weights * each).sum()
    error = (weights * (each - mean)).square().sum().sqrt()
    sampler = HybridMonteCarlo(m2=m2, coupling=coupling, chains=256, size=6)
    with torch.no_grad():
        chain = sampler(sampler.state(), 60).phi.square().mean((-2, -1))
    apart = abs(float(mean - chain.mean()))
    assert apart < 3.5 * float((error**2 + chain.var() / 256).sqrt())
