"""A learned correction of finite volumes, its training, and the bound on all closures. float64."""

from __future__ import annotations

import math

import pytest
import torch
from sfm_fluids.data.dns_2d import Case
from sfm_fluids.evaluation.decorrelation import Protocol, spectral_run
from sfm_fluids.evaluation.knowable import exact_stress_run, refined, start_run
from sfm_fluids.evaluation.reference import reference
from sfm_fluids.flows.members import Member
from sfm_fluids.learned.face_stress import FaceStress
from sfm_fluids.learned.scheme import LearnedScheme, Stencil
from sfm_fluids.learned.scheme_training import Flows, Runs, Stage, fit_scheme
from sfm_fluids.learned.training import load, save
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.staggered.finite_volume_2d import FaceState, FiniteVolume2D
from sfm_fluids.staggered.interpolation import Linear, advecting, advection, push

from sfm.errors import InputError

MEMBERS = (Member("kolmogorov", 1), Member("kolmogorov", 2))
CASE = Case(0.002, 64, 0.0125, 3.0, 0.25, 13, MEMBERS, "float64")


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    """Two Kolmogorov flows at Re 500 on 64 x 64 points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return reference(CASE, 64)


@pytest.fixture(scope="module")
def protocol(flows):
    grid = Grid(16, 16)
    return Protocol(flows, (0, 4), 8, grid, 3 * grid.isotropic_spacing)


def stirred(seed: int = 0, channels: int = 4, last: int = 3) -> FaceStress:
    """A correction that does something: its last layer is not zero."""
    network = FaceStress(layers=2, channels=channels, last=last, seed=seed).double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for weight in network.convolutions[-1].parameters():
            weight.normal_(0, 0.05, generator=generator)
    return network


def velocities(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, 3, 10, 12, dtype=torch.float64, generator=generator)
    return u, v


def test_the_push_is_minus_the_divergence_of_the_stress():
    """Against the derivative of a smooth stress, to second order; momentum is conserved."""

    def error(n: int) -> float:
        h = 2 * math.pi / n
        index = torch.arange(n, dtype=torch.float64) * h
        centre, corner = index + h / 2, index
        p = torch.sin(centre + 2 * centre[:, None])  # x along the last axis
        q = torch.cos(corner - corner[:, None])
        du, dv = push(p, q, (h, h))
        x, y = corner, centre[:, None]  # u's faces
        exact_u = -torch.cos(x + 2 * y) - torch.sin(x - y)
        x, y = centre, corner[:, None]  # v's faces
        exact_v = torch.sin(x - y) + 2 * torch.cos(x + 2 * y)
        assert abs(float(du.sum())) < 1e-11
        assert abs(float(dv.sum())) < 1e-11
        return max(float((du - exact_u).abs().max()), float((dv - exact_v).abs().max()))

    assert math.log2(error(32) / error(64)) == pytest.approx(2, abs=0.1)


def test_an_untrained_correction_changes_nothing():
    plain = FiniteVolume2D(height=12, width=12, dt=0.05, forcing_wavenumber=2)
    other = FiniteVolume2D(height=12, width=12, dt=0.05, forcing_wavenumber=2,
                           correction=FaceStress())  # fmt: skip
    with torch.no_grad():
        a, b = (sim(sim.state(), 4) for sim in (plain, other))
    assert torch.equal(a.u, b.u)
    assert torch.equal(a.v, b.v)


@pytest.mark.parametrize("last", [1, 3])
def test_a_correction_knows_shifts_boosts_and_scales(last):
    network, (u, v) = stirred(last=last), velocities()
    p, q = network(u, v, (1.0, 1.0))
    assert p.abs().max() > 1e-3
    for got, exact in zip(network(u + 3.0, v - 1.0, (1.0, 1.0)), (p, q), strict=True):
        assert torch.allclose(got, exact, atol=1e-12)
    for got, exact in zip(network(2 * u, 2 * v, (1.0, 1.0)), (p, q), strict=True):
        assert torch.allclose(got, 4 * exact, rtol=1e-12)
    turn = (2, -3)
    shifted = network(u.roll(turn, (-2, -1)), v.roll(turn, (-2, -1)), (1.0, 1.0))
    for got, exact in zip(shifted, (p, q), strict=True):
        assert torch.allclose(got, exact.roll(turn, (-2, -1)), atol=1e-12)


def test_a_stencil_starts_at_fourth_order_and_stays_consistent():
    """Against sines between their samples; a constant stays one whatever the weights are."""

    def errors(n: int, module: torch.nn.Module) -> list[float]:
        h = 2 * math.pi / n
        at = torch.arange(n, dtype=torch.float64) * h
        u = torch.sin(at) * torch.cos(at[:, None] + h / 2)  # (i, j + 1/2)
        v = torch.cos(at + h / 2) * torch.sin(at[:, None])  # (i + 1/2, j)
        exact = (
            torch.sin(at + h / 2) * torch.cos(at[:, None] + h / 2),
            torch.sin(at) * torch.cos(at[:, None]),
            torch.cos(at) * torch.sin(at[:, None]),
            torch.cos(at + h / 2) * torch.sin(at[:, None] + h / 2),
        )
        with torch.no_grad():
            got = module(u, v, (h, h))
        return [float((a - b).abs().max()) for a, b in zip(got, exact, strict=True)]

    for module, order in ((Stencil().double(), 4), (Linear(), 2)):
        for coarse, fine in zip(errors(16, module), errors(32, module), strict=True):
            assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)
    start, flow = Stencil().double(), velocities()
    for value, exact in zip(start.both(*flow, (1.0, 1.0))[0], advecting(*flow), strict=True):
        assert (value - exact).abs().max() < 1e-14, "the means of neighbours"
    trained, one = Stencil().double(), torch.ones(2, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        trained.change.normal_(generator=torch.Generator().manual_seed(0))
        for values in trained.both(one, 3 * one, (1.0, 1.0)):
            for value, exact in zip(values, (one, one, 3 * one, 3 * one), strict=True):
                assert (value - exact).abs().max() < 1e-12


def test_a_trained_stencil_conserves_mass_and_knows_boosts():
    """Advecting velocities of a flow without divergence have none; a boost adds its advection."""
    trained, sim = Stencil().double(), FiniteVolume2D(height=10, width=12, forcing_wavenumber=0)
    with torch.no_grad():
        trained.change.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
        u, v = sim._project(*velocities())
        through, _ = trained.both(u, v, sim.spacing)
        dy, dx = sim.spacing
        left = (through.u_centre - through.u_centre.roll(1, -1)) / dx
        left = left + (through.v_corner.roll(-1, -2) - through.v_corner) / dy
        assert left.abs().max() < 1e-11
        still = advection(u, v, sim.spacing, trained)
        moving = advection(u + 2.0, v, sim.spacing, trained)
        _, carried = trained.both(u, v, sim.spacing)
        wind_u = 2.0 * (carried.u_centre - carried.u_centre.roll(1, -1)) / dx
        wind_v = 2.0 * (carried.v_corner.roll(-1, -1) - carried.v_corner) / dx
    for more, less, wind in zip(moving, still, (wind_u, wind_v), strict=True):
        assert (more - less - wind).abs().max() < 1e-11


def test_a_stress_is_held_through_steps():
    """Evaluated at every third step of a call, whatever the backward pass redoes."""
    network, calls = stirred(), []
    network.register_forward_hook(lambda *_: calls.append(1))
    options = {
        "height": 12,
        "width": 12,
        "dt": 0.05,
        "forcing_wavenumber": 2,
        "correction": network,
    }
    held = FiniteVolume2D(hold=3, **options)
    start = held.state()
    with torch.no_grad():
        plain = held(start, 7)
        assert len(calls) == 3
        once = FiniteVolume2D(**options)(start, 7)
    assert (plain.u - once.u).abs().max() > 1e-9
    redone = held(start, 7)
    assert torch.equal(redone.u, plain.u)
    for hold, parts in ((0, {"correction": network}), (2, {})):
        with pytest.raises(InputError, match="hold"):
            FiniteVolume2D(hold=hold, **parts)


@pytest.mark.parametrize("recompute", [True, False])
def test_gradients_through_a_corrected_solver(recompute):
    """Finite differences; seeds whose rectifiers are away from their corners."""
    network = stirred(1, channels=2)
    sim = FiniteVolume2D(height=6, width=6, dt=0.1, forcing_wavenumber=1, advection="central",
                         correction=network, recompute=recompute)  # fmt: skip
    state, weight = sim.state(), network.convolutions[-1].weight

    def run(u: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        given = {"correction.convolutions.1.weight": last}
        out = torch.func.functional_call(sim, given, (FaceState(u, state.v, state.time), 2))
        flat = torch.cat((out.u.flatten(), out.v.flatten()))
        generator = torch.Generator().manual_seed(0)
        return torch.randn(2, len(flat), generator=generator, dtype=torch.float64) @ flat

    inputs = [x.detach().clone().requires_grad_() for x in (state.u, weight)]
    assert torch.autograd.gradcheck(run, inputs, eps=1e-7, atol=1e-5)


def test_training_through_the_solver_lowers_the_loss_and_a_file_keeps_it(flows, tmp_path):
    vorticity = flows.on(Grid(16, 16))
    runs = Runs(Flows(vorticity, 0.25, 0.002, 0.1), 0.125)
    when, which = torch.arange(8), torch.arange(8) % 2
    network = LearnedScheme(layers=2, channels=8, last=1, hold=2)
    with torch.no_grad():
        central, before = (float(runs.losses(x, when, which, 2).mean()) for x in (None, network))
    assert before < central, "it starts at fourth order"
    losses = fit_scheme(network, runs, (Stage(1, 20), Stage(2, 20)), batch=6)
    assert len(losses) == 40
    with torch.no_grad():
        after = float(runs.losses(network, when, which, 2).mean())
    assert after < 0.9 * before
    save(network, tmp_path / "c.safetensors")
    again = load(tmp_path / "c.safetensors")
    with torch.no_grad():
        assert float(runs.losses(again, when, which, 2).mean()) == after
    with pytest.raises(InputError, match="hold no run"):
        fit_scheme(network, runs, (Stage(13, 1),))
    with pytest.raises(InputError, match="does not divide"):
        Runs(Flows(vorticity, 0.25, 0.002, 0.1), 0.1)


def test_modes_are_kept_on_a_finer_grid():
    coarse, fine = Grid(12, 12), Grid(30, 30)

    def field(grid: Grid) -> torch.Tensor:
        x, y = grid.coordinates()
        return torch.cos(3 * x - 2 * y) + torch.sin(2 * x + 3 * y) + 0.5

    assert (refined(field(coarse), coarse, fine) - field(fine)).abs().max() < 1e-13


def test_what_a_start_knows_bounds_the_coarse_solver(protocol):
    """All modes known is the reference itself; fewer modes, a shorter time, but not a coarse run's.

    The exact stress makes the coarse solver follow; an error in it takes that away.
    """
    whole = start_run(protocol, 64, 64, 0.0125)
    assert whole.correlation.min() > 1 - 1e-5
    known = start_run(protocol, 16, 64, 0.0125)
    mean = start_run(protocol, 16, 64, 0.0125, flows=3)
    plain = spectral_run(protocol, 16, 0.0625)
    assert plain.correlation[-1].mean() < known.correlation[-1].mean() < 1 - 1e-5
    assert mean.correlation[0].min() > 0.999
    exact, wrong = (exact_stress_run(protocol, 16, 0.0625, error=e, fine=64) for e in (0.0, 1.0))
    assert exact.correlation[-1].min() > known.correlation[-1].max()
    assert wrong.correlation[-1].mean() < exact.correlation[-1].mean()
