"""The solver against exact solutions, conservation laws, and finite differences. float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sfm_fluids.closures.classical import GradientModel, Smagorinsky
from sfm_fluids.flows.flows_2d import random_vorticity
from sfm_fluids.patches.grid_symmetry import mirror_x, quarter_turn
from sfm_fluids.periodic import vorticity_equation as solver
from sfm_fluids.periodic.flow_state import FlowState
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.spectral import grid_2d as spectral
from sfm_fluids.spectral.filters import Filter
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.momentum_flux_2d import vorticity_tendency
from sfm_fluids.stepping.etdrk4 import phi

from sfm.errors import InputError, RunError

QUIET = {"drag": 0.0, "forcing_wavenumber": 0}


def taylor_green(grid: Grid, t: float, nu: float, u0: float, v0: float) -> torch.Tensor:
    """cos x sin y, -sin x cos y, decaying and carried along by (u0, v0)."""
    x, y = grid.coordinates()
    x, y, decay = x - u0 * t, y - v0 * t, math.exp(-2 * nu * t)
    return torch.stack((u0 + x.cos() * y.sin() * decay, v0 - x.sin() * y.cos() * decay))


def turbulent(points: int, **options) -> tuple[NavierStokes2D, FlowState]:
    sim = NavierStokes2D(height=points, width=points, seed=3, **options)
    return sim, sim.state()


def test_phi_functions_match_their_definition():
    from decimal import Decimal, getcontext

    getcontext().prec = 50
    for value in (-1e-9, -1e-3, -0.5, -0.999, -1.001, -7.0, -300.0):
        z = Decimal(value)
        rest = z.exp() - 1
        for order in (1, 2, 3):
            exact = float(rest / z**order)
            rest -= z**order / math.factorial(order)
            got = phi(order, torch.tensor(value, dtype=torch.float64)).item()
            assert got == pytest.approx(exact, rel=2e-14)


@pytest.mark.parametrize("mean", [(0.0, 0.0), (0.7, -0.4)])
def test_taylor_green(mean):
    nu, dt, steps = 0.05, 0.01, 100
    sim = NavierStokes2D(height=24, width=24, viscosity=nu, dt=dt, **QUIET)
    state = sim(sim.from_velocity(taylor_green(sim.grid, 0.0, nu, *mean)), steps)
    exact = taylor_green(sim.grid, dt * steps, nu, *mean)
    error = (sim.velocity(state)[0] - exact).abs().max().item()
    assert error < (1e-13 if mean == (0.0, 0.0) else 2e-10)


def test_taylor_green_in_float32_drifts_at_rounding_level():
    nu = 0.1
    sim = NavierStokes2D(height=60, width=60, viscosity=nu, dt=0.01, dtype=torch.float32, **QUIET)
    start = sim.from_velocity(taylor_green(sim.grid, 0.0, nu, 0, 0))
    with torch.no_grad():
        state = sim(start, 1000)
    exact = taylor_green(sim.grid, 10.0, nu, 0, 0)
    error = (sim.velocity(state)[0] - exact).abs().max() / exact.abs().max()
    assert error.item() < 2e-6  # the usual form, exp(L dt) u, is at 1e-4


def test_laminar_kolmogorov_flow_is_reached_and_kept():
    nu, alpha, amplitude, n = 0.3, 0.2, 0.8, 2
    sim = NavierStokes2D(
        height=16,
        width=16,
        dt=0.1,
        initial="rest",
        viscosity=nu,
        drag=alpha,
        forcing_amplitude=amplitude,
        forcing_wavenumber=n,
    )
    _, y = sim.grid.coordinates()
    exact = amplitude / (nu * n**2 + alpha) * torch.sin(n * y)
    u = sim.velocity(sim(sim.state(), 300))[0]
    assert (u[0] - exact).abs().max() < 1e-13
    assert u[1].abs().max() < 1e-13


def test_order_of_accuracy_is_four():
    errors = []
    time = 0.4
    sims = [
        NavierStokes2D(height=32, width=32, viscosity=5e-3, dt=time / n, seed=1)
        for n in (20, 40, 80, 640)
    ]
    with torch.no_grad():
        ends = [s(s.state(), round(time / s.dt)).vorticity for s in sims]
    errors = [(e - ends[-1]).norm().item() for e in ends[:-1]]
    orders = [math.log2(errors[i] / errors[i + 1]) for i in range(2)]
    assert all(abs(order - 4) < 0.2 for order in orders), orders


def test_inviscid_flow_conserves_energy_and_enstrophy_with_fourth_order_drift():
    drifts = []
    for n in (25, 50):
        sim, state = turbulent(32, viscosity=0.0, dt=1.0 / n, **QUIET)
        with torch.no_grad():
            before, after = sim.observe(state), sim.observe(sim(state, n))
        drifts.append(
            [abs(after[q] / before[q] - 1).item() for q in ("mean_kinetic_energy", "enstrophy")]
        )
    assert max(drifts[1]) < 1e-6
    for coarse, fine in zip(*drifts, strict=True):
        assert math.log2(coarse / fine) > 3.7


def test_energy_budget_closes():
    """dE/dt = <f . u> - 2 nu Z - 2 alpha E, integrated with Simpson's rule."""
    sim, state = turbulent(48, viscosity=0.01, dt=0.005)
    _, y = sim.grid.coordinates()
    force = torch.sin(4 * y)
    rates, energies = [], []
    with torch.no_grad():
        for _ in range(41):
            now = sim.observe(state)
            power = (force * now["velocity"][0, 0]).mean()
            energy = now["mean_kinetic_energy"][0]
            loss = 2 * sim.viscosity * now["enstrophy"][0] + 2 * sim.drag * energy
            rates.append((power - loss).item())
            energies.append(energy.item())
            state = sim(state, 1)
    weights = np.array([1] + [4, 2] * 19 + [4, 1]) * sim.dt / 3
    assert energies[-1] - energies[0] == pytest.approx(float(weights @ rates), abs=1e-9)


@pytest.mark.parametrize("name", ["rotation", "reflection", "shift"])
def test_a_step_commutes_with_the_grids_symmetries(name):
    sim, state = turbulent(32, closure=Smagorinsky(0.2), viscosity=1e-3, **QUIET)
    move = {
        "rotation": quarter_turn,
        "reflection": mirror_x,
        "shift": lambda u: np.roll(u, (3, -5), axis=(-2, -1)),
    }[name]

    def moved(s: FlowState) -> FlowState:
        return sim.from_velocity(torch.from_numpy(move(sim.velocity(s).detach().numpy()).copy()))

    with torch.no_grad():
        a, b = sim(moved(state), 5).vorticity, moved(sim(state, 5)).vorticity
    assert (a - b).abs().max() / a.abs().max() < 1e-13


def test_batch_equals_singles_and_parameters_may_differ_in_a_batch():
    nu = torch.tensor([1e-3, 5e-2], dtype=torch.float64)
    sim = NavierStokes2D(height=24, width=24, viscosity=nu)
    omega = torch.stack([random_vorticity(sim.grid, 3.0, 1.0, s) for s in (1, 2)])
    start = FlowState(omega, torch.zeros(2, 2, dtype=torch.float64), torch.zeros(()))
    together = sim(start, 5).vorticity
    for i in range(2):
        one = NavierStokes2D(height=24, width=24, viscosity=float(nu[i]))
        alone = one(FlowState(omega[i : i + 1], start.mean_velocity[:1], start.time), 5)
        assert torch.allclose(together[i], alone.vorticity[0], rtol=0, atol=1e-12)


def test_rectangular_box_agrees_with_its_square_tiling():
    """A flow that repeats in y is the same on one period and on two."""
    low = NavierStokes2D(height=16, width=32, length_y=math.pi, viscosity=0.02, **QUIET)
    high = NavierStokes2D(height=32, width=32, viscosity=0.02, **QUIET)
    x, y = low.grid.coordinates()
    omega = torch.cos(x) * torch.cos(2 * y) + torch.sin(2 * x + 4 * y)
    zeros = torch.zeros(1, 2, dtype=torch.float64)
    once = low(FlowState(omega[None], zeros, torch.zeros(())), 20).vorticity[0]
    twice = high(FlowState(omega.repeat(2, 1)[None], zeros, torch.zeros(())), 20).vorticity[0]
    assert (twice - once.repeat(2, 1)).abs().max() < 1e-12


def test_the_exact_stress_is_the_exact_closure():
    """Filtered DNS obeys the coarse solver's equation with the exact stress in the hole."""
    fine, coarse = Grid(96, 96), Grid(32, 32)
    coarsen = Filter(fine, coarse, 3 * coarse.isotropic_spacing)
    omega = random_vorticity(fine, 5.0, 1.0, 7)
    u = spectral.velocity(omega[None], fine)
    tendencies = []
    for grid, velocity, tau in ((fine, u, None), (coarse, coarsen(u), coarsen.stress(u))):
        hat = solver.to_spectrum(spectral.vorticity(velocity, grid), grid)
        closure = None if tau is None else (lambda v, h, tau=tau: tau)
        mean = torch.zeros(1, 2, dtype=torch.float64)
        rate = vorticity_tendency(hat, mean, grid, closure)
        tendencies.append(solver.to_field(rate, grid))
    exact, coarse_rate = coarsen(tendencies[0]), tendencies[1]
    assert (coarse_rate - exact).abs().max() / exact.abs().max() < 1e-12
    stress = coarsen.stress(u)
    boosted = coarsen.stress(u + torch.tensor([0.8, -1.3])[:, None, None])
    assert (stress - boosted).abs().max() < 1e-13  # Galilean invariance of the label


def test_gradient_model_is_the_leading_term_of_the_exact_stress():
    """The relative error of Clark's model falls with the square of the filter width."""
    fine, coarse = Grid(128, 128), Grid(64, 64)
    u = spectral.velocity(random_vorticity(fine, 2.0, 1.0, 5)[None], fine)
    errors = []
    for width in (0.1, 0.05):
        coarsen = Filter(fine, coarse, width)
        exact = coarsen.stress(u)
        spacing = coarse.isotropic_spacing
        model = GradientModel(width / spacing)(coarsen(u), spacing)
        errors.append(((model - exact).norm() / exact.norm()).item())
    assert errors[1] < 0.02
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("recompute", [True, False])
def test_gradients_match_finite_differences(recompute):
    sim = NavierStokes2D(
        height=8,
        width=8,
        subgrid="smagorinsky",
        dt=0.05,
        forcing_wavenumber=1,
        recompute=recompute,
    )
    names = ("viscosity", "drag", "forcing_amplitude", "smagorinsky_constant")

    def end(omega: torch.Tensor, mean: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        start = FlowState(omega, mean, torch.zeros((), dtype=torch.float64))
        params = dict(zip(names, values, strict=True))
        out = torch.func.functional_call(sim, params, (start, 2))
        return torch.cat((out.vorticity.flatten(), out.mean_velocity.flatten()))

    omega = random_vorticity(sim.grid, 1.5, 1.0, 2)[None].requires_grad_()
    mean = torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    values = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.02, 0.1, 1.0, 0.2)
    ]
    assert torch.autograd.gradcheck(
        end, (omega, mean, *values), eps=1e-6, atol=1e-6, fast_mode=not recompute
    )


def test_recomputing_steps_changes_no_bit_of_the_gradient():
    grads = []
    for recompute in (True, False):
        sim, state = turbulent(16, recompute=recompute)
        sim(state, 6).vorticity.square().sum().backward()
        grads.append([p.grad for p in (sim.viscosity, sim.drag, sim.forcing_amplitude)])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_mistakes_are_named():
    with pytest.raises(InputError, match="square cells"):
        NavierStokes2D(height=16, width=32, closure=Smagorinsky())
    with pytest.raises(InputError, match="not both"):
        NavierStokes2D(closure=Smagorinsky(), subgrid="smagorinsky")
    with pytest.raises(InputError, match="is not resolved"):
        NavierStokes2D(height=16, width=16, forcing_wavenumber=6)
    with pytest.raises(InputError, match="viscosity"):
        NavierStokes2D(viscosity=-1.0)
    with pytest.raises(InputError, match="height=8 and width=8"):
        NavierStokes2D(height=16, width=16).from_velocity(torch.zeros(2, 8, 8))
    sim = NavierStokes2D(height=16, width=16, dt=50.0, viscosity=0.0)
    with torch.no_grad(), pytest.raises(RunError, match="blew up"):
        sim.warnings(sim(sim.state(), 40))
