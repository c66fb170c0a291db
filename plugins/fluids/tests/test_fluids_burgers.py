"""Burgers' equation against the Cole-Hopf solution, conservation, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_fluids.periodic.burgers import Burgers, cole_hopf
from sfm_fluids.spectral.grid_1d import Line, resampled
from torch import nn

from sfm.data.sample import Sample
from sfm.errors import InputError, RunError
from sfm.simulate.fit import fit


def hopf_quadrature(x: np.ndarray, t: float, nu: float) -> np.ndarray:
    """u(x, t) from u(x, 0) = sin x by the Cole-Hopf transform: a ratio of heat convolutions.

    u = int (x - y)/t g dy / int g dy with g = exp(-[(x - y)^2 / 2t + 1 - cos y] / 2 nu).
    """
    y = x[:, None] + np.linspace(-12, 12, 6001) * math.sqrt(t)
    exponent = -((x[:, None] - y) ** 2 / (2 * t) + 1 - np.cos(y)) / (2 * nu)
    g = np.exp(exponent - exponent.max(1, keepdims=True))
    return ((x[:, None] - y) / t * g).sum(1) / g.sum(1)


@pytest.mark.parametrize(("length", "wavenumber"), [(2 * math.pi, 1), (3.0, 2)])
def test_cole_hopf_closed_form(length, wavenumber):
    values = {"length": length, "wavenumber": wavenumber, "cole_hopf_ratio": 0.7}
    sim = Burgers(points=192, viscosity=0.1, dt=0.002, initial="cole-hopf", **values)
    with torch.no_grad():
        end = sim(sim.state(), 500)
    exact = cole_hopf(sim.grid, 0.1, 1.0, 0.7, wavenumber)
    assert (end.velocity - exact).abs().max() < 1e-10
    assert end.time.item() == pytest.approx(1.0)


def test_order_of_accuracy_is_four():
    errors = []
    for steps in (16, 32, 64):
        sim = Burgers(points=256, viscosity=0.2, dt=1 / steps, initial="cole-hopf")
        with torch.no_grad():
            end = sim(sim.state(), steps).velocity
        errors.append((end - cole_hopf(sim.grid, 0.2, 1.0)).norm().item())
    orders = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert all(abs(order - 4) < 0.1 for order in orders), orders


def test_a_sine_becomes_the_front_of_the_heat_convolution():
    """nu = 0.1: an initial field with no elementary solution."""
    sim = Burgers(points=256, viscosity=0.1, dt=0.0025)
    with torch.no_grad():
        end = sim(sim.state(), 600).velocity[0]
    x = sim.grid.coordinates().numpy()
    exact = hopf_quadrature(x, 1.5, 0.1)
    assert np.abs(end.numpy() - exact).max() < 1e-9


def test_a_mean_flow_carries_the_field_along():
    """Galilean invariance: u0 + u(x - u0 t, t)."""
    sim = Burgers(points=128, viscosity=0.2, dt=0.004, initial="cole-hopf")
    shift = 3 * sim.grid.spacing
    start = sim.state()
    with torch.no_grad():
        still = sim(start, 250).velocity
        moving = sim(sim.from_field(start.velocity + shift), 250).velocity
    assert (moving - shift - still.roll(3, -1)).abs().max() < 1e-10


def test_mean_is_conserved_and_the_energy_budget_closes():
    """d<u^2/2>/dt = <f u> - nu <u_x^2>, integrated with Simpson's rule; the mean never changes."""
    sim = Burgers(points=128, viscosity=0.1, dt=0.001, initial="random", forcing_amplitude=0.5)
    state = sim.from_field(0.4 + sim.initial_field())
    force = torch.sin(sim.grid.coordinates())
    mean, rates, energies = state.velocity.mean(), [], []
    with torch.no_grad():
        for _ in range(41):
            u = state.velocity[0]
            power = (force * u).mean() * 0.5 - 0.1 * sim.grid.derivative(u).square().mean()
            rates.append(power.item())
            energies.append(0.5 * u.square().mean().item())
            state = sim(state, 1)
    weights = np.array([1] + [4, 2] * 19 + [4, 1]) * sim.dt / 3
    assert energies[-1] - energies[0] == pytest.approx(float(weights @ rates), abs=1e-9)
    assert (state.velocity.mean() - mean).abs() < 1e-14


def test_inviscid_smooth_flow_conserves_energy_with_fourth_order_drift():
    drifts = []
    for steps in (10, 20):
        sim = Burgers(points=128, viscosity=0.0, dt=1.0 / steps, initial="random", seed=2)
        state = sim.from_field(0.1 * sim.initial_field())
        with torch.no_grad():
            before, after = sim.observe(state), sim.observe(sim(state, steps))
        ratio = after["mean_kinetic_energy"] / before["mean_kinetic_energy"]
        drifts.append(abs(ratio.item() - 1))
    assert drifts[1] < 1e-8
    assert math.log2(drifts[0] / drifts[1]) > 3.7


def test_float32_is_as_good_as_its_rounding():
    ends = []
    for dtype in (torch.float64, torch.float32):
        sim = Burgers(points=128, viscosity=0.05, dt=0.005, dtype=dtype)
        with torch.no_grad():
            ends.append(sim(sim.state(), 400).velocity.double())
    assert (ends[1] - ends[0]).abs().max() < 5e-6


def test_members_of_a_batch_do_not_meet_and_may_differ_in_viscosity():
    viscosity = torch.tensor([0.05, 0.2], dtype=torch.float64)
    both = Burgers(points=64, dt=0.01, viscosity=viscosity, initial="random", members=2)
    with torch.no_grad():
        end = both(both.state(), 50).velocity
        for i in range(2):
            one = Burgers(points=64, dt=0.01, viscosity=float(viscosity[i]))
            alone = one(one.from_field(both.initial_field()[i]), 50).velocity[0]
            assert (end[i] - alone).abs().max() < 1e-14


@pytest.mark.parametrize("name", ["viscosity", "forcing_amplitude"])
def test_one_field_under_several_parameters_becomes_several(name):
    """Each with its own gradient, also where the run starts from a state of one field."""
    values = [0.1, 0.2, 0.4]
    several = Burgers(points=24, dt=0.05, **{name: values})
    assert several.state().velocity.shape == (3, 24)
    one = Burgers(points=24, dt=0.05).state()
    several(one, 4).velocity.square().sum().backward()
    for i, value in enumerate(values):
        alone = Burgers(points=24, dt=0.05, **{name: value})
        alone(one, 4).velocity.square().sum().backward()
        single = getattr(alone, name).grad
        torch.testing.assert_close(getattr(several, name).grad[i], single, rtol=1e-10, atol=0)
    with pytest.raises(InputError, match="batch axes do not match"):
        several.from_field(torch.zeros(2, 24))


class Wiggle(nn.Module):
    """A smooth closure with a weight, in place of a network."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, velocity, spacing):
        return -self.weight * spacing * torch.tanh(velocity.roll(-1, -1) - velocity.roll(1, -1))


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("closure", ["none", "smagorinsky", "module"])
def test_gradients(recompute, closure):
    extra = {"closure": Wiggle()} if closure == "module" else {"subgrid": closure}
    sim = Burgers(points=16, dt=0.05, recompute=recompute, segment=2, **extra)
    state = sim.from_field(0.3 + sim.initial_field())
    names = [name for name, _ in sim.named_parameters()]

    def run(u, *values):
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(sim, named, (state._replace(velocity=u), 3)).velocity

    values = [p.detach().clone().requires_grad_() for p in sim.parameters()]
    u = state.velocity.clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (u, *values))


def test_memory_modes_give_the_same_bits():
    gradients = []
    for options in ({"recompute": False}, {"recompute": True}, {"segment": 4}):
        sim = Burgers(points=32, dt=0.02, viscosity=0.1, **options)
        sim(sim.state(), 9).velocity.square().sum().backward()
        gradients.append(sim.viscosity.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_the_exact_subgrid_flux_closes_the_filtered_equation():
    """d F[u]/dt on a coarse line, with tau = F[u^2]/2 - P[F[u]^2]/2 as closure, is F[du/dt]."""
    fine = Burgers(points=192, viscosity=0.02, initial="random", seed=4)
    coarse_line = Line(48)
    with torch.no_grad():
        u = fine(fine.state(), 80).velocity

    def coarse(field):
        hat = torch.fft.rfft(field)[..., :25] * coarse_line.dealias_mask() / 4
        return coarse_line.to_field(hat)

    filtered = coarse(u)
    square = coarse_line.to_field(coarse_line.to_spectrum(filtered.square()))
    tau = 0.5 * (coarse(u.square()) - square)

    class Exact(nn.Module):
        def forward(self, velocity, spacing):
            return tau

    les = Burgers(points=48, viscosity=0.02, closure=Exact())

    def tendency(sim, field):
        hat = sim.grid.to_spectrum(field)
        term = sim.nonlinear()
        rate = sim.linear_operator() * hat + term.function(hat, 0.0, *term.tensors)
        return sim.grid.to_field(rate)

    with torch.no_grad():
        coarse_tendency = coarse(tendency(fine, u))
        assert (tendency(les, filtered) - coarse_tendency).abs().max() < 1e-12
        bare = Burgers(points=48, viscosity=0.02)
        assert (tendency(bare, filtered) - coarse_tendency).abs().max() > 1e-3


def test_smagorinsky_only_takes_energy():
    ends = []
    for subgrid in ("none", "smagorinsky"):
        sim = Burgers(points=48, viscosity=0.01, subgrid=subgrid, smagorinsky_constant=1.0)
        with torch.no_grad():
            run = sim.run(sim.state(), 400, every=20)
        ends.append(run.observables["mean_kinetic_energy"][:, 0])
    assert (ends[1].diff() < 0).all()
    assert ends[1][-1] < ends[0][-1]


def test_starts_from_samples_and_says_what_is_wrong():
    sim = Burgers(points=16)
    field = np.sin(sim.grid.coordinates().numpy())
    state = sim.state(Sample(id="a", domain="fluids", fields={"velocity": field}))
    assert torch.allclose(state.velocity[0], torch.from_numpy(field))
    with pytest.raises(InputError, match="no field 'velocity'"):
        sim.state(Sample(id="a", domain="fluids"))
    with pytest.raises(InputError, match="set points=8"):
        sim.from_field(torch.zeros(8))
    with pytest.raises(InputError, match="not resolved"):
        Burgers(points=16, wavenumber=6)
    with pytest.raises(InputError, match="between 0 and 1"):
        Burgers(cole_hopf_ratio=1.0)
    with pytest.raises(InputError, match="not both"):
        Burgers(subgrid="smagorinsky", closure=Wiggle())
    with pytest.raises(InputError, match="initial=random"):
        Burgers(members=3)
    with pytest.raises(InputError, match="force_field"):
        Burgers(points=16, force_field=torch.zeros(8))


@pytest.mark.parametrize(("points", "finer"), [(16, 40), (15, 32), (16, 21), (40, 16)])
def test_fields_are_resampled_exactly(points, finer):
    def field(n):
        x = Line(n).coordinates()
        return 0.2 + torch.cos(7 * x - 0.4) + torch.sin(3 * x)

    assert (resampled(field(points), finer) - field(finer)).abs().max() < 1e-14


def test_the_default_run_is_resolved():
    sim = Burgers()
    with torch.no_grad():
        assert sim.warnings(sim(sim.state(), sim.default_steps)) == ()


def test_warnings_name_the_cause():
    sim = Burgers(points=32, viscosity=0.001, dt=0.3)
    with torch.no_grad():
        late = sim(sim.state(), 5)
    warnings = " ".join(sim.warnings(late))
    assert "dt / dx" in warnings
    assert "under-resolved" in warnings
    blown = late._replace(velocity=late.velocity * math.nan)
    with pytest.raises(RunError, match="blew up"):
        sim.warnings(blown)


def test_fit_recovers_viscosity_and_force_from_noisy_fields(tmp_path):
    true = {"viscosity": 0.12, "forcing_amplitude": 0.4}
    sim = Burgers(points=32, dt=0.05, **true)
    with torch.no_grad():
        run = sim.run(sim.state(), 20, every=5)
    noise = torch.Generator().manual_seed(0)
    seen = run.observables["velocity"][:, 0]
    seen = seen + 0.01 * torch.randn(seen.shape, generator=noise, dtype=torch.float64)
    start = sim.state().velocity[0]
    arrays = {"velocity": seen[1:], "times": run.times[1:], "initial_velocity": start}
    path = tmp_path / "seen.npz"
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    guess = Burgers(points=32, dt=0.05, viscosity=0.2)
    result = fit(guess, guess.read_observations(path), list(true))
    assert result.converged
    for name, value in true.items():
        estimate = result.estimates[name]
        assert abs(estimate.value - value) < 4 * estimate.standard_error
        assert estimate.standard_error < 0.03 * value
    with pytest.raises(InputError, match="no multiples of dt"):
        Burgers(points=32, dt=0.06).read_observations(path)
    np.savez(path, velocity=np.zeros((2, 32)))
    with pytest.raises(InputError, match="no dataset 'times'"):
        guess.read_observations(path)


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_draws_figures(tmp_path, suffix):
    sim = Burgers(points=32, viscosity=0.1)
    with torch.no_grad():
        run = sim.run(sim.state(), 20, every=5)
    path = tmp_path / f"burgers{suffix}"
    sim.plot(run, path)
    assert path.stat().st_size > 1000
    with pytest.raises(InputError, match="draw to"):
        sim.plot(run, tmp_path / "burgers.txt")
