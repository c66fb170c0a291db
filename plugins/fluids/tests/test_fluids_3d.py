"""Three-dimensional flow against exact solutions, a published simulation and conservation laws."""

from __future__ import annotations

import math

import pytest
import torch
from sfm_fluids.closures.classical import Smagorinsky
from sfm_fluids.flows import flows_3d as flows
from sfm_fluids.periodic.navier_stokes_3d import FlowState3D, NavierStokes3D
from sfm_fluids.spectral import transforms_3d as transforms
from sfm_fluids.spectral.grid_3d import Grid3D, curl, divergence, energy_spectrum, project
from sfm_fluids.spectral.momentum_flux_3d import momentum_tendency

from sfm.errors import InputError, RunError


def turbulent(**options) -> tuple[NavierStokes3D, FlowState3D]:
    sim = NavierStokes3D(initial="random", **{"grid": 16, "seed": 3, "dt": 0.02, **options})
    return sim, sim.state()


def change(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


# ------------------------------------------------------------------ transforms


def test_transforms_are_those_of_the_kept_modes():
    grid = Grid3D(9, 12, 10)
    field = torch.randn(2, *grid.shape, dtype=torch.float64, generator=torch.manual_seed(0))
    hat = transforms.to_spectrum(field, grid)
    full = torch.fft.fftn(field, dim=(1, 2, 3), norm="forward")
    z, y, x = (n.long().flatten() for n in grid.indices())
    assert (hat - full[:, z][:, :, y][..., x]).abs().max() < 1e-16
    kept = torch.zeros_like(full)
    for sign in (1, -1):
        part = full[:, sign * z][:, :, sign * y][..., sign * x]
        kept[:, (sign * z)[:, None, None], (sign * y)[:, None], sign * x] = part
    exact = torch.fft.ifftn(kept, dim=(1, 2, 3), norm="forward").real
    assert (transforms.to_field(hat, grid) - exact).abs().max() < 1e-14


@pytest.mark.parametrize("chunk", [1, 2**20])
def test_transforms_and_advection_have_the_right_gradients(monkeypatch, chunk):
    """Whole batches and one volume at a time; twice differentiable."""
    monkeypatch.setattr(transforms, "CHUNK", chunk)
    grid = Grid3D(6, 7, 8)
    generator = torch.manual_seed(1)
    hat = torch.randn(2, 3, *grid.spectral_shape, dtype=torch.complex128, generator=generator)
    field = torch.randn(2, *grid.shape, dtype=torch.float64, generator=generator)
    hat, field = hat.requires_grad_(), field.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda h: transforms.to_field(h, grid), (hat,), fast_mode=True)
    assert check(lambda f: transforms.to_spectrum(f, grid), (field,), fast_mode=True)
    assert check(lambda h: momentum_tendency(h, grid), (hat,), fast_mode=True)
    assert torch.autograd.gradgradcheck(
        lambda h: momentum_tendency(h, grid), (hat,), fast_mode=True
    )


def test_momentum_flux_form_equals_the_rotational_form():
    grid = Grid3D(12, 16, 10, 3.0, 7.0, 5.0)
    generator = torch.manual_seed(2)
    hat = torch.randn(3, *grid.spectral_shape, dtype=torch.complex128, generator=generator)
    hat = transforms.to_spectrum(transforms.to_field(hat, grid), grid)
    hat = project(hat, grid)
    u, omega = transforms.to_field(hat, grid), transforms.to_field(curl(hat, grid), grid)
    rotational = transforms.to_spectrum(torch.cross(u, omega, dim=0), grid)
    rotational[:, 0, 0, 0] = 0.0
    assert change(momentum_tendency(hat, grid), project(rotational, grid)) < 1e-14


# ------------------------------------------------------------------ exact solutions


def test_abc_flow_decays():
    """curl u = u: u(t) = u(0) exp(-nu t); with hyperviscosity exp(-(nu + nu_h) t)."""
    for hyper in (0.0, 0.03):
        sim = NavierStokes3D(grid=12, initial="abc", viscosity=0.1, hyperviscosity=hyper, dt=0.05)
        start = sim.state()
        end = sim(start, 40)
        exact = start.velocity_hat * math.exp(-(0.1 + hyper) * 2.0)
        assert change(end.velocity_hat, exact) < 1e-13
        seen = sim.observe(start)
        assert seen["helicity"].item() == pytest.approx(3.0, abs=1e-13)  # u . curl u = u . u
        assert seen["mean_kinetic_energy"].item() == pytest.approx(1.5, abs=1e-13)
        assert seen["enstrophy"].item() == pytest.approx(1.5, abs=1e-13)
        assert seen["dissipation_rate"].item() == pytest.approx((0.1 + hyper) * 3, abs=1e-13)


def antuono(grid: Grid3D) -> torch.Tensor:
    """A flow of three sine factors with curl u = sqrt(3) u; M. Antuono, JFM 890, A23 (2020)."""
    x, y, z = grid.coordinates()
    a, b = 5 * math.pi / 6, math.pi / 6

    def part(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        first = (x - a).sin() * (y - b).cos() * z.sin()
        return first - (z - a).cos() * (x - b).sin() * y.sin()

    return (
        4
        * math.sqrt(2)
        / (3 * math.sqrt(3))
        * torch.stack((part(x, y, z), part(y, z, x), part(z, x, y)))
    )


def test_antuonos_beltrami_flow_decays_also_in_a_wind():
    """exp(-3 nu t), carried along by a uniform wind: the advection term is at work."""
    nu, dt, steps, wind = 0.05, 0.02, 50, (0.7, -0.4, 0.3)
    for mean, tolerance in (((0.0, 0.0, 0.0), 1e-13), (wind, 1e-8)):
        sim = NavierStokes3D(grid=12, viscosity=nu, dt=dt)
        drift = torch.tensor(mean, dtype=torch.float64)[:, None, None, None]
        start = sim.from_velocity(antuono(sim.grid) + drift)
        end = sim(start, steps).velocity_hat[0]
        kz, ky, kx = sim.grid.wavenumbers()
        time = steps * dt
        phase = torch.exp(-1j * time * (kx * mean[0] + ky * mean[1] + kz * mean[2]))
        exact = start.velocity_hat[0] * phase * math.exp(-3 * nu * time)
        exact[:, 0, 0, 0] = drift[:, 0, 0, 0]
        assert change(end, exact) < tolerance


@pytest.mark.parametrize("plane", [(0, 1), (1, 2), (2, 0)])
def test_two_dimensional_taylor_green_in_every_plane_of_a_long_box(plane):
    nu, lengths = 0.05, [2 * math.pi] * 3
    other = 3 - sum(plane)
    lengths[other] = 3.7
    points = [8 if axis == other else 16 for axis in range(3)]
    sim = NavierStokes3D(
        width=points[0],
        height=points[1],
        depth=points[2],
        length_x=lengths[0],
        length_y=lengths[1],
        length_z=lengths[2],
        viscosity=nu,
        dt=0.05,
    )
    a, b = (sim.grid.coordinates()[axis] for axis in plane)
    u = torch.zeros(3, *sim.grid.shape, dtype=torch.float64)
    u[plane[0]], u[plane[1]] = a.cos() * b.sin(), -a.sin() * b.cos()
    end = sim.velocity(sim(sim.from_velocity(u), 20))[0]
    assert (end - u * math.exp(-2 * nu)).abs().max() < 1e-13


def test_forces_hold_their_laminar_flows():
    """Kolmogorov: A / (nu n^2) sin ny; ABC force of wavenumber n: A / (nu n^2) times that flow."""
    for forcing, n in (("kolmogorov", 2), ("abc", 2)):
        sim = NavierStokes3D(
            grid=8,
            initial="rest",
            viscosity=2.0,
            forcing=forcing,
            forcing_wavenumber=n,
            forcing_amplitude=0.8,
            dt=0.1,
        )
        end = sim(sim.state(), 60)
        assert change(end.velocity_hat[0], 0.8 / (2.0 * n**2) * sim.force_hat) < 1e-12


# ------------------------------------------------------------------ a published simulation


def test_taylor_green_at_reynolds_1600():
    """E(2) = 0.123917, -dE/dt = 0.000708, enstrophy 0.56605: 512^3 points, spectral.

    Reference data of the International Workshop on High-Order CFD Methods, case 3.5
    (spectral_Re1600_512.gdiag; W. M. van Rees et al., J. Comput. Phys. 230, 2794 (2011)).
    """
    sim = NavierStokes3D(grid=64, viscosity=1 / 1600, dt=0.1, dtype=torch.float32)
    with torch.no_grad():
        seen = sim.observe(sim(sim.state(), 20))
    assert seen["mean_kinetic_energy"].item() == pytest.approx(0.123917, abs=1e-6)
    assert seen["dissipation_rate"].item() == pytest.approx(0.000708, abs=1e-6)
    assert seen["enstrophy"].item() == pytest.approx(0.56605, abs=5e-5)


# ------------------------------------------------------------------ conservation and order


def test_inviscid_flow_conserves_energy_and_helicity_with_fourth_order_drift():
    drifts = []
    for dt in (0.1, 0.05):
        sim, state = turbulent(viscosity=0.0, dt=dt, seed=0)
        with torch.no_grad():
            before, after = sim.observe(state), sim.observe(sim(state, round(1 / dt)))
        drifts.append(
            [abs(after[q] - before[q]).item() for q in ("mean_kinetic_energy", "helicity")]
        )
    assert max(drifts[1]) < 1e-6
    for coarse, fine in zip(*drifts, strict=True):
        assert math.log2(coarse / fine) > 3.7


@pytest.mark.parametrize(("stepper", "order"), [("etdrk4", 4), ("ifrk4", 4), ("etdrk2", 2)])
def test_order_of_accuracy(stepper, order):
    ends = []
    with torch.no_grad():
        for steps in (8, 16, 128):
            sim, state = turbulent(viscosity=0.02, dt=0.4 / steps, stepper=stepper)
            ends.append(sim(state, steps).velocity_hat)
    errors = [(e - ends[-1]).norm().item() for e in ends[:-1]]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_energy_budget_closes():
    """dE/dt = < f . u > - eps, integrated with Simpson's rule."""
    sim, state = turbulent(
        viscosity=0.02, hyperviscosity=1e-4, forcing="kolmogorov", forcing_amplitude=0.5, dt=0.01
    )
    force = 0.5 * transforms.to_field(sim.force_hat, sim.grid)
    rates, energies = [], []
    with torch.no_grad():
        for _ in range(21):
            seen = sim.observe(state)
            power = (force * seen["velocity"][0]).sum(0).mean()
            rates.append((power - seen["dissipation_rate"][0]).item())
            energies.append(seen["mean_kinetic_energy"][0].item())
            state = sim(state, 1)
    weights = [1, *[4, 2] * 9, 4, 1]
    gain = sum(w * r for w, r in zip(weights, rates, strict=True)) * sim.dt / 3
    assert energies[-1] - energies[0] == pytest.approx(gain, abs=1e-9)


def test_flows_stay_free_of_divergence_and_observables_are_those_of_the_fields():
    sim, state = turbulent(viscosity=0.01, mean_x=0.3)
    state = sim(state, 10)
    assert divergence(state.velocity_hat, sim.grid).abs().max() < 1e-15
    seen = sim.observe(state)
    u, omega = seen["velocity"], seen["vorticity_vector"]
    for name, field in (
        ("mean_kinetic_energy", 0.5 * u.square()),
        ("enstrophy", 0.5 * omega.square()),
        ("helicity", u * omega),
    ):
        assert seen[name].item() == pytest.approx(field.sum(1).mean().item(), rel=1e-12)
    assert u.mean((2, 3, 4))[0].tolist() == pytest.approx([0.3, 0.0, 0.0], abs=1e-15)
    k, energy = sim.spectrum(state)
    assert k[:3].tolist() == [0, 1, 2]
    mean = 0.5 * 0.3**2
    assert energy.sum().item() + mean == pytest.approx(seen["mean_kinetic_energy"].item())


# ------------------------------------------------------------------ symmetries


def moved(velocity: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """u'(x) = Q u(Q^-1 x) for a signed permutation Q of the axes; velocity (B, 3, N, N, N)."""
    order = turn.abs().argmax(1)
    sign = turn.gather(1, order[:, None])[:, 0]
    out = velocity.permute(0, 1, *(4 - int(order[axis]) for axis in (2, 1, 0)))
    flips = [-1 - i for i in range(3) if sign[i] < 0]
    if flips:
        out = out.flip(flips).roll([1] * len(flips), flips)
    return out[:, order] * sign.reshape(3, 1, 1, 1)


@pytest.mark.parametrize("closure", [None, Smagorinsky(0.2)])
def test_steps_commute_with_the_symmetries_of_the_cube(closure):
    """Generators of all 48 rotations and reflections, and shifts."""
    sim, state = turbulent(viscosity=0.005, closure=closure)
    u = sim.velocity(state)
    end = sim.velocity(sim(state, 3)).detach()
    for matrix in (
        [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
        [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
    ):
        turn = torch.tensor(matrix, dtype=torch.float64)
        after = sim.velocity(sim(sim.from_velocity(moved(u, turn)), 3)).detach()
        assert change(after, moved(end, turn)) < 1e-13
    shift = ((2, -3, 5), (-3, -2, -1))
    after = sim.velocity(sim(sim.from_velocity(u.roll(*shift)), 3)).detach()
    assert change(after, end.roll(*shift)) < 1e-13


def test_a_wind_carries_a_turbulent_flow_along():
    wind, dt, steps = (0.5, -0.3, 0.8), 0.005, 40
    sim, state = turbulent(viscosity=0.01, dt=dt)
    blown, start = turbulent(
        viscosity=0.01, dt=dt, **dict(zip(("mean_x", "mean_y", "mean_z"), wind, strict=True))
    )
    with torch.no_grad():
        still, carried = sim(state, steps).velocity_hat, blown(start, steps).velocity_hat
    kz, ky, kx = sim.grid.wavenumbers()
    phase = torch.exp(-1j * dt * steps * (kx * wind[0] + ky * wind[1] + kz * wind[2]))
    carried[..., 0, 0, 0] = 0.0
    assert change(carried, still * phase) < 1e-7


# ------------------------------------------------------------------ initial flows


def test_random_flows_have_the_spectrum_that_was_asked_for_on_every_grid():
    def law(k: torch.Tensor) -> torch.Tensor:
        return k**2 / (1 + k**4)

    coarse, fine = Grid3D(16, 16, 16), Grid3D(32, 32, 32)
    few, many = (flows.random_velocity(g, law, 5) for g in (coarse, fine))
    k, energy = energy_spectrum(many, fine)
    whole = k <= fine.cutoff[0]
    assert torch.allclose(energy[whole], law(k[whole]), rtol=1e-12)
    assert energy[~whole].abs().max() == 0
    assert divergence(many, fine).abs().max() < 1e-14
    # a real field: nothing is lost on the way there and back
    again = transforms.to_spectrum(transforms.to_field(many, fine), fine)
    assert (again - many).abs().max() < 1e-15
    cut = coarse.cutoff[0]
    index = torch.cat((torch.arange(cut + 1), torch.arange(-cut, 0)))
    inner = many[:, index][:, :, index][..., : cut + 1]
    shell = coarse.square_wavenumber().sqrt().round() <= cut
    assert ((inner - few) * shell).abs().max() < 1e-15
    sim, state = turbulent()
    assert sim.observe(state)["mean_kinetic_energy"].item() == pytest.approx(0.5, rel=0.03)


def test_taylor_green_is_free_of_divergence_in_any_box():
    sim = NavierStokes3D(depth=8, height=12, width=16, length_x=4.0, length_y=3.0)
    assert divergence(sim.state().velocity_hat, sim.grid).abs().max() < 1e-15
    assert sim.state().velocity_hat.abs().max() > 0.1


# ------------------------------------------------------------------ gradients, batches, types


@pytest.mark.parametrize("recompute", [True, False])
@pytest.mark.parametrize("closed", [False, True])
def test_gradients_match_finite_differences(recompute, closed):
    sim, state = turbulent(
        grid=6,
        forcing="abc",
        dt=0.1,
        peak_wavenumber=1.0,
        hyperviscosity=1e-3,
        recompute=recompute,
        closure=_Weighted() if closed else None,
    )
    names = ["viscosity", "hyperviscosity", "forcing_amplitude"]
    names += ["closure.weight"] if closed else []

    def end(hat: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, values, strict=True))
        start = FlowState3D(hat, state.time)
        return torch.func.functional_call(sim, given, (start, 2)).velocity_hat

    values = [sim.get_parameter(n).detach().clone().requires_grad_() for n in names]
    hat = state.velocity_hat.requires_grad_()
    assert torch.autograd.gradcheck(end, (hat, *values), eps=1e-6, atol=1e-6, fast_mode=True)


class _Weighted(torch.nn.Module):
    """A closure with a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, velocity: torch.Tensor, spacing: float) -> torch.Tensor:
        product = velocity.unsqueeze(-4) * velocity.unsqueeze(-5)
        return self.weight * spacing**2 * product * velocity.square().sum(-4, True).unsqueeze(-5)


def test_recomputing_steps_changes_no_bit_of_the_gradient():
    grads = []
    for options in ({"recompute": True}, {"recompute": False}, {"segment": 3}):
        sim, state = turbulent(grid=8, forcing="abc", **options)
        end = sim(state, 5).velocity_hat
        torch.view_as_real(end).square().sum().backward()
        grads.append([p.grad for p in (sim.viscosity, sim.forcing_amplitude)])
    for other in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[0], other, strict=True))


def test_batch_equals_singles_and_parameters_may_differ_in_a_batch():
    nu = torch.tensor([1e-3, 5e-2], dtype=torch.float64)
    amplitude = torch.tensor([0.5, 1.5], dtype=torch.float64)
    sim = NavierStokes3D(grid=12, viscosity=nu, forcing="abc", forcing_amplitude=amplitude, dt=0.05)
    flows = [turbulent(grid=12, seed=s)[1].velocity_hat for s in (1, 2)]
    time = torch.zeros((), dtype=torch.float64)
    together = sim(FlowState3D(torch.cat(flows), time), 4).velocity_hat
    for i in range(2):
        one = NavierStokes3D(
            grid=12, viscosity=nu[i], forcing="abc", forcing_amplitude=amplitude[i], dt=0.05
        )
        alone = one(FlowState3D(flows[i], time), 4).velocity_hat[0]
        assert torch.allclose(together[i], alone, rtol=0, atol=1e-14)


def test_float32_follows_float64():
    ends = []
    for dtype in (torch.float32, torch.float64):
        sim, state = turbulent(viscosity=0.01, dtype=dtype)
        with torch.no_grad():
            ends.append(sim.velocity(sim(state, 50)))
    assert ends[0].dtype == torch.float32
    assert change(ends[0].double(), ends[1]) < 2e-5


# ------------------------------------------------------------------ files, fit, mistakes


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's, in forward mode
def test_viscosity_is_recovered_from_a_written_run(tmp_path):
    from sfm.simulate.fit import fit

    sim, state = turbulent(grid=12, viscosity=0.03, dt=0.05)
    with torch.no_grad():
        sim.write(sim.run(state, 10, every=5), tmp_path / "run.h5")
    other = NavierStokes3D(grid=12, viscosity=0.05, dt=0.05)
    result = fit(other, other.read_observations(tmp_path / "run.h5"), ["viscosity"])
    assert result.estimates["viscosity"].value.item() == pytest.approx(0.03, rel=1e-6)


def test_a_run_is_drawn(tmp_path):
    sim, state = turbulent()
    with torch.no_grad():
        run = sim.run(state, 4, every=2)
    for name in ("flow.png", "flow.gif"):
        sim.plot(run, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    with pytest.raises(InputError, match="draw to"):
        sim.plot(run, tmp_path / "flow.txt")


def test_a_given_force_is_made_free_of_divergence():
    sim = NavierStokes3D(grid=8, initial="rest", viscosity=1.0)
    x, y, _ = sim.grid.coordinates()
    zero = torch.zeros_like(x)
    force = torch.stack((y.sin() + x.sin(), zero, zero))  # sin x is a gradient
    sim = NavierStokes3D(grid=8, initial="rest", viscosity=1.0, force=force, dt=0.1)
    end = sim.velocity(sim(sim.state(), 400))[0]
    assert (end[0] - y.sin()).abs().max() < 1e-14


def test_mistakes_are_named():
    with pytest.raises(InputError, match="cubic cells"):
        NavierStokes3D(depth=8, height=8, width=16, closure=Smagorinsky())
    with pytest.raises(InputError, match="needs a cube"):
        NavierStokes3D(grid=8, length_x=3.0, initial="abc").state()
    with pytest.raises(InputError, match="is not resolved"):
        NavierStokes3D(grid=8, forcing="kolmogorov", forcing_wavenumber=3)
    with pytest.raises(InputError, match="depth=8, height=8 and width=8"):
        NavierStokes3D(grid=16).from_velocity(torch.zeros(3, 8, 8, 8))
    with pytest.raises(InputError, match=r"is not \(B, 3, D, H, W\)"):
        NavierStokes3D(grid=8).from_velocity(torch.zeros(2, 8, 8, 8))
    with pytest.raises(InputError, match="not both"):
        NavierStokes3D(grid=8, forcing="abc", force=torch.zeros(3, 8, 8, 8))
    with pytest.raises(InputError, match="at least 2"):
        NavierStokes3D(grid=8, hyperviscosity_power=1)
    sim, state = turbulent(viscosity=0.0, dt=5.0)
    with torch.no_grad(), pytest.raises(RunError, match="blew up"):
        sim.warnings(sim(state, 40))
