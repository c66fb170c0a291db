"""Forces, drag, hyperviscosity and passive scalars against closed forms and budgets. float64."""

from __future__ import annotations

import math

import pytest
import torch
from sfm_fluids.periodic.flow_state import modes_of
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.spectral.forcing import RingNoise
from sfm_fluids.spectral.grid_2d import Grid
from torch import nn

from sfm.errors import InputError

QUIET = {"drag": 0.0, "forcing_wavenumber": 0}


def wave(sim: NavierStokes2D, nx: int, ny: int) -> torch.Tensor:
    """cos(kx x + ky y), (1, H, W): a single wave has no advection."""
    x, y = sim.grid.coordinates()
    kx, ky = 2 * math.pi * nx / sim.length_x, 2 * math.pi * ny / sim.length_y
    return torch.cos(kx * x + ky * y)[None]


def test_hyperviscosity_and_drag_decay_a_wave_as_they_should():
    case = {"viscosity": 0.01, "drag": 0.2, "hyperviscosity": 1e-4, "hyperviscosity_power": 3}
    sim = NavierStokes2D(
        height=16, width=24, length_x=3.0, length_y=2.0, dt=0.1, forcing_wavenumber=0, **case
    )
    start = wave(sim, 2, 1)
    k2 = (4 * math.pi / 3) ** 2 + math.pi**2
    rate = 0.01 * k2 + 1e-4 * k2**3 + 0.2
    end = sim(sim.state()._replace(vorticity=start), 10).vorticity
    assert (end - start * math.exp(-rate)).abs().max() < 1e-13


def test_the_kolmogorov_state_with_all_dampings_is_laminar_and_keeps_its_budget():
    """u = A sin(n y) / (nu n^2 + nu_h n^2p + alpha); supply = dissipation there."""
    nu, nu_h, alpha, n = 0.3, 0.01, 0.2, 2
    sim = NavierStokes2D(
        grid=12,
        dt=0.2,
        initial="rest",
        viscosity=nu,
        hyperviscosity=nu_h,
        hyperviscosity_power=2,
        drag=alpha,
        forcing_wavenumber=n,
    )
    _, y = sim.grid.coordinates()
    rate = nu * n**2 + nu_h * n**4 + alpha
    with torch.no_grad():
        u = sim.velocity(sim(sim.state(), 80))[0]
    assert (u[0] - torch.sin(n * y) / rate).abs().max() < 1e-9
    supply = (u[0] * torch.sin(n * y)).mean()
    assert supply.item() == pytest.approx((rate * u.square().sum(0).mean()).item(), rel=1e-8)


def test_a_module_force_in_place_of_the_kolmogorov_force():
    class Sine(nn.Module):
        def forward(self, velocity: torch.Tensor, time: float) -> torch.Tensor:
            y = torch.arange(16, dtype=velocity.dtype) * (2 * math.pi / 16)
            force = torch.zeros_like(velocity)
            force[..., 0, :, :] = torch.sin(4 * y)[:, None]
            return force

    built_in = NavierStokes2D(grid=16, dt=0.05, seed=2)
    by_module = NavierStokes2D(grid=16, dt=0.05, seed=2, forcing_wavenumber=0, forcing=Sine())
    with torch.no_grad():
        a, b = (s(s.state(), 10).vorticity for s in (built_in, by_module))
    assert (a - b).abs().max() < 1e-12


def test_a_force_linear_in_the_velocity_is_negative_drag_and_time_is_passed_on():
    class Pump(nn.Module):
        def forward(self, velocity: torch.Tensor, time: float) -> torch.Tensor:
            return 2 * time * velocity

    sim = NavierStokes2D(grid=12, dt=0.02, viscosity=0.0, forcing=Pump(), **QUIET)
    start = sim.state()._replace(vorticity=wave(sim, 1, 2))
    with torch.no_grad():
        half = sim(start, 25)
        end = sim(half, 25).vorticity
    assert (end - start.vorticity * math.e).abs().max() < 1e-7  # exp(t^2) at t = 1


# --- white noise ------------------------------------------------------------------------------


def test_noise_is_the_same_in_every_run_and_after_a_resume():
    case = {"grid": 16, "dt": 0.01, "random_wavenumber": 3, "forcing_wavenumber": 0, "seed": 5}
    with torch.no_grad():
        sims = [NavierStokes2D(**case) for _ in range(2)]
        whole = sims[0](sims[0].state(), 6)
        first = sims[1](sims[1].state(), 3)
        resumed = NavierStokes2D(**case)(first, 3)
        again = sims[1](sims[1].state(), 6)
    assert torch.equal(whole.vorticity, again.vorticity)
    modes = [modes_of(whole, s.grid) for s in sims]
    assert torch.equal(*modes)
    assert (resumed.vorticity - whole.vorticity).abs().max() < 1e-13  # one transform in between
    noise = sims[0].noise
    phases = noise.phases(4, range(3))
    assert torch.equal(phases[1:], noise.phases(4, range(1, 3)))
    assert not torch.equal(phases[0], phases[1])
    assert not torch.equal(phases, noise.phases(5, range(3)))
    other = RingNoise(sims[0].grid, 3, 1.0, 0.01, 6)
    assert not torch.equal(phases, other.phases(4, range(3)))


def test_noise_supplies_the_energy_it_promises():
    """From rest, without damping: E(t) = eps t, in the mean over flows; nonlinearity included."""
    rate, members, steps = 0.3, 24, 40
    sim = NavierStokes2D(
        grid=24,
        dt=0.01,
        viscosity=0.0,
        initial="rest",
        random_wavenumber=4,
        injection_rate=rate,
        **QUIET,
    )
    rest = sim.state()
    start = rest._replace(
        vorticity=rest.vorticity.repeat(members, 1, 1),
        mean_velocity=rest.mean_velocity.repeat(members, 1),
    )
    with torch.no_grad():
        energy = sim.observe(sim(start, steps))["mean_kinetic_energy"]
    supplied = rate * steps * sim.dt
    spread = float(energy.std()) / math.sqrt(members)
    assert abs(float(energy.mean()) - supplied) < 4 * spread
    assert spread < 0.05 * supplied
    first = sim.observe(sim(start, 1))["mean_kinetic_energy"]  # one kick has no cross term
    assert torch.allclose(first, torch.full_like(first, rate * sim.dt), rtol=1e-10)


def test_noise_and_damping_balance():
    """With drag alone: mean of E = eps / (2 alpha) (1 - exp(-2 alpha t))."""
    rate, alpha, members = 0.2, 1.0, 48
    sim = NavierStokes2D(
        height=8,
        width=8,
        dt=0.04,
        viscosity=0.0,
        drag=alpha,
        forcing_wavenumber=0,
        initial="rest",
        random_wavenumber=1.5,
        random_width=0.6,
        injection_rate=rate,
    )
    rest = sim.state()
    state = rest._replace(
        vorticity=rest.vorticity.repeat(members, 1, 1),
        mean_velocity=rest.mean_velocity.repeat(members, 1),
    )
    energies = []
    with torch.no_grad():
        state = sim(state, 60)
        for _ in range(8):
            state = sim(state, 20)
            energies.append(sim.observe(state)["mean_kinetic_energy"].mean())
    assert float(torch.stack(energies).mean()) == pytest.approx(rate / (2 * alpha), rel=0.08)


def test_the_noises_ring_is_a_ring():
    grid = Grid(24, 36, 2 * math.pi, 3 * math.pi)
    noise = RingNoise(grid, 5.0, 1.0, 0.01, 0)
    rate = torch.tensor(0.1, dtype=torch.float64)
    modes = noise.modes(0, range(2), rate, torch.float64, torch.device("cpu"))
    field = torch.fft.irfft2(modes, s=grid.shape)
    ky, kx = grid.wavenumbers()
    k = torch.sqrt(ky**2 + kx**2) * 1.5
    hat = torch.fft.rfft2(field).abs()
    outside = ((k - 5).abs() > 1 + 1e-9).expand_as(hat)
    assert hat[outside].max() < 1e-10 * hat.max()
    weight = torch.full_like(kx, 2.0)
    weight[:, 0] = 1.0
    weight[:, -1] = 1.0
    cells = grid.height * grid.width
    density = 0.5 * weight * hat.square() / (ky**2 + kx**2).clamp(min=1e-9) / cells**2
    assert torch.allclose(density.sum((-2, -1)) * 0.01, rate, rtol=1e-12)  # E of a kick f dt
    with pytest.raises(InputError, match="no mode with"):
        RingNoise(grid, 0.3, 0.1, 0.01, 0)
    two_times = NavierStokes2D(grid=8, random_wavenumber=2, forcing_wavenumber=1)
    state = two_times.state()._replace(time=torch.tensor([0.0, 1.0]))
    with pytest.raises(InputError, match="flows at one time"):
        two_times(state, 1)


# --- passive scalars --------------------------------------------------------------------------


def test_scalars_diffuse_and_ride_on_a_uniform_flow():
    """s = cos(k . (x - U t)) exp(-kappa k^2 t), for two scalars of different kappa."""
    kappa = torch.tensor([0.02, 0.1], dtype=torch.float64)
    sim = NavierStokes2D(
        grid=16, dt=0.02, scalars=2, scalar_diffusivity=kappa, initial="rest", **QUIET
    )
    x, y = sim.grid.coordinates()
    wind = torch.tensor([[0.7, -0.4]], dtype=torch.float64)
    start = torch.stack((torch.cos(2 * x + y), torch.cos(x - 3 * y)))
    state = sim.from_velocity(wind[..., None, None].expand(1, 2, 16, 16), start)
    with torch.no_grad():
        end = sim(state, 50)
    x, y = x - 0.7, y + 0.4
    exact = torch.stack(
        (torch.cos(2 * x + y) * math.exp(-0.02 * 5), torch.cos(x - 3 * y) * math.exp(-0.1 * 10))
    )
    assert (end.scalars[0] - exact).abs().max() < 1e-6
    assert sim.observe(end)["passive_scalar"].shape == (1, 2, 16, 16)


def test_a_scalar_equal_to_the_vorticity_stays_equal_to_it():
    """In 2-D vorticity is itself a passive scalar: kappa = nu, no drag, no force."""
    sim = NavierStokes2D(
        grid=24, dt=0.02, viscosity=0.01, scalar_diffusivity=0.01, scalars=1, seed=3, **QUIET
    )
    state = sim.state()
    state = state._replace(scalars=state.vorticity[:, None])
    with torch.no_grad():
        end = sim(state, 40)
    assert (end.scalars[:, 0] - end.vorticity).abs().max() < 1e-12
    assert (end.vorticity - state.vorticity).abs().max() > 0.1


def test_a_mean_gradient_is_a_linear_part_of_the_scalar():
    """Total scalar G . x + s: a wind lowers <s> by U . G t; a shear flow has a closed form."""
    sim = NavierStokes2D(
        grid=12,
        dt=0.05,
        viscosity=0.0,
        scalars=1,
        scalar_diffusivity=0.3,
        scalar_gradient_x=0.5,
        scalar_gradient_y=-2.0,
        initial="rest",
        **QUIET,
    )
    _, y = sim.grid.coordinates()
    # u = (0.2 + sin y, 0.1): s_t + U . grad s = kappa s_yy - 0.5 sin y - (0.5 * 0.2 - 2 * 0.1)
    velocity = torch.stack((0.2 + torch.sin(y), torch.full_like(y, 0.1)))
    state = sim.from_velocity(velocity, torch.zeros(1, 12, 12, dtype=torch.float64))
    with torch.no_grad():
        end = sim(state, 20)
    assert float(end.scalars.mean()) == pytest.approx(-(0.5 * 0.2 - 2.0 * 0.1), abs=1e-12)
    # the pattern moves with V = 0.1 along y; in its frame s_t = kappa s_yy - 0.5 sin y
    exact = -0.5 * torch.sin(y - 0.1) * (1 - math.exp(-0.3)) / 0.3
    fluctuation = end.scalars[0, 0] - end.scalars.mean()
    assert (fluctuation - exact).abs().max() < 1e-8


def test_scalar_variance_budget():
    """d<s^2>/dt / 2 = -kappa <|grad s|^2> - <v . G s>; Simpson's rule over a turbulent stretch."""
    sim = NavierStokes2D(
        grid=32, dt=0.01, viscosity=0.02, scalars=1, scalar_diffusivity=0.02, scalar_gradient_y=1.0
    )
    ky, kx = sim.grid.wavenumbers()
    state, rates, variance = sim.state(), [], []
    with torch.no_grad():
        for _ in range(21):
            s, v = state.scalars[0, 0], sim.velocity(state)[0, 1]
            hat = torch.fft.rfft2(s)
            lap = torch.fft.irfft2(-(kx**2 + ky**2) * hat, s=s.shape)
            rates.append(float((0.02 * s * lap - v * s).mean()))
            variance.append(0.5 * float(s.square().mean()))
            state = sim(state, 1)
    weights = [1] + [4, 2] * 9 + [4, 1]
    gained = sum(w * r for w, r in zip(weights, rates, strict=True)) * sim.dt / 3
    assert variance[-1] - variance[0] == pytest.approx(gained, abs=1e-8)


def test_mistakes_of_scalars_and_forces_are_named():
    plain = NavierStokes2D(grid=8, forcing_wavenumber=1)
    carrying = NavierStokes2D(grid=8, forcing_wavenumber=1, scalars=1)
    with pytest.raises(InputError, match="does not carry scalars=1"):
        carrying(plain.state(), 1)
    with pytest.raises(InputError, match="one for each scalar"):
        NavierStokes2D(grid=8, forcing_wavenumber=1, scalars=2, scalar_diffusivity=[1, 1, 1])
    with pytest.raises(InputError, match="set scalars=3"):
        carrying.from_velocity(torch.zeros(2, 8, 8), torch.zeros(3, 8, 8))
    with pytest.raises(InputError, match="hyperviscosity_power=0"):
        NavierStokes2D(hyperviscosity_power=0)
