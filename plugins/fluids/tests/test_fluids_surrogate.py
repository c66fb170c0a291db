"""The next-state surrogate: symmetries, its Taylor vectors, the solver as its limit, the data."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sfm_fluids.data.specs import TURBULENCE_2D_STEPS
from sfm_fluids.flows.flows_2d import random_vorticity
from sfm_fluids.patches.flow_encoder import FlowEncoder
from sfm_fluids.patches.surrogate import FlowSurrogate, for_sample, velocities
from sfm_fluids.patches.taylor import Motion, derivatives
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.quantities import VELOCITY_CHANGE
from sfm_fluids.spectral.grid_2d import Grid, divergence, velocity

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.data.sample import Sample
from sfm.data.storage import open_dataset
from sfm.errors import InputError
from sfm.model import FoundationModel

PART = "fluids/flow"
GRID = Grid(16, 24, 16 / 12 * math.pi, 2 * math.pi)


def flow(seed: int = 1, grid: Grid = GRID) -> torch.Tensor:
    """(2, H, W), with the modes that the 2/3 rule keeps."""
    omega = random_vorticity(grid, 2.0, 1.0, seed)
    kept = torch.fft.irfft2(torch.fft.rfft2(omega) * grid.dealias_mask(), s=grid.shape)
    return velocity(kept, grid)


def model(dtype: torch.dtype = torch.float64) -> FoundationModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ModelConfig(
            trunk={"channels": 16, "layers": 2, "experts": 2, "radial": 6, "carried": 8},
            encoders={PART: {"patch": 2}},
            encoder_domains={PART: "fluids"},
            heads=(HeadSpec(PART, "velocity_change", "fluids/velocity_change"),),
            targets=(Target(PART, "DNS", "velocity_change"),),
            contexts=((PART, "DNS"),),
            quantities={"velocity_change": VELOCITY_CHANGE},
            plugins={},
        )
        network = FoundationModel(config)
        for parameter in network.heads.parameters():
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return network.to(dtype)


def sample(field: torch.Tensor, force: torch.Tensor | None = None) -> Sample:
    fields = {"velocity": field.numpy()} | ({} if force is None else {"force": force.numpy()})
    return Sample(
        id="a flow",
        domain="fluids",
        level="DNS",
        cell=np.diag([GRID.length_x, GRID.length_y, 1.0]),
        pbc=np.array([True, True, False]),
        fields=fields,
        conditions={"interval": 0.1, "viscosity": 0.01, "drag": 0.1},
    )


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
def test_the_change_follows_the_grid(dtype, tolerance, forced):
    m, here = model(dtype), sample(flow(1), 0.7 * flow(2) if forced else None)

    def change(s: Sample) -> torch.Tensor:
        with torch.no_grad():
            out = m({PART: m.tokenize(PART, [s])}, {PART: ["velocity_change"]})
        return out[PART]["velocity_change"]

    before, names = change(here), []
    for name, move, turned in m.encoder(PART).symmetries(torch.Generator().manual_seed(1)):
        moved = change(move(here))
        error = (moved - turned("velocity_change", before)).abs().max() / before.abs().max()
        assert error < tolerance, (name, error)
        names.append(name)
    assert names == ["rotation", "reflection", "translation"]


def test_taylor_vectors_are_the_derivatives_of_the_solver():
    """u(T) - u(0) - T A1 - T^2/2 A2 falls as T^3, with u(T) from the solver."""
    grid = Grid(24, 24)
    u, force = flow(3, grid), 0.5 * flow(4, grid)
    nu, drag, h = 0.02, 0.3, grid.isotropic_spacing
    curl = torch.fft.irfft2(torch.fft.rfft2(_curl(force, grid)), s=grid.shape)
    g = torch.tensor([1.7], dtype=torch.float64)
    errors = []
    for t in (0.08, 0.04, 0.02):
        sim = NavierStokes2D(
            height=24, width=24, viscosity=nu, drag=drag, dt=t / 16, force_curl=curl
        )
        end = sim.velocity(sim(sim.from_velocity(u), 16))[0]
        motion = Motion(
            (u / g)[None],
            (force * h / g**2)[None],
            t * g / h,
            nu / (g * h),
            drag * h / g,
        )
        first, second = derivatives(motion)
        errors.append((end - u - g * (first + second)[0]).norm().item())
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(3, abs=0.15)


def _curl(field: torch.Tensor, grid: Grid) -> torch.Tensor:
    from sfm_fluids.spectral.grid_2d import vorticity

    return vorticity(field, grid)


def surrogate(**options) -> FlowSurrogate:
    given = {"interval": 0.1, "viscosity": 0.01, "spacing": GRID.isotropic_spacing, **options}
    return FlowSurrogate(model(), **given)


def test_the_next_velocity_is_free_of_divergence_and_carried_by_a_wind():
    step, u = surrogate(drag=0.2), flow(1)[None]
    wind = torch.tensor([1.3, -0.4], dtype=torch.float64)
    with torch.no_grad():
        still, blown = step(u), step(u + wind[:, None, None])
    assert divergence(still, GRID).abs().max() < 1e-12
    assert still.mean((-2, -1)).abs().max() < 1e-14
    decay = math.exp(-0.02)
    assert torch.allclose(blown.mean((-2, -1))[0], wind * decay, atol=1e-12)
    # carried by wind * (1 - exp(-drag T)) / drag, read off the phase of one mode
    hats = [torch.fft.rfft2(f[0, 0])[1, 2] for f in (still, blown)]
    k = torch.tensor([2.0, 2 * math.pi / GRID.length_y], dtype=torch.float64)
    expected = -(k @ wind).item() * (1 - decay) / 0.2
    assert torch.angle(hats[1] / hats[0]).item() == pytest.approx(expected, abs=1e-10)


def test_gradient_through_two_steps_matches_finite_differences():
    step = surrogate()
    u = flow(1)[None].requires_grad_()
    direction = flow(5)[None]

    def loss(field: torch.Tensor) -> torch.Tensor:
        return step.rollout(field, 2)[-1].square().sum()

    (gradient,) = torch.autograd.grad(loss(u), u)
    with torch.no_grad():
        eps = 1e-5
        difference = (loss(u + eps * direction) - loss(u - eps * direction)) / (2 * eps)
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-7)


def test_a_flow_at_rest_feels_the_derivative_of_a_wind():
    """At zero mean the wind carries nothing, but its derivative does: finite differences."""
    step = surrogate(drag=0.2)
    # multiples of 2^-16 whose halves cancel: the mean is zero to the last bit
    half = (flow(1)[None, ..., :12] * 2**16).round() / 2**16
    u = torch.cat((half, -half), -1).requires_grad_()
    assert (u.mean((-2, -1)) == 0).all()
    wind = torch.tensor([1.3, -0.4], dtype=torch.float64)[:, None, None].expand_as(u)
    weight = flow(6)[None]
    (gradient,) = torch.autograd.grad((step(u) * weight).sum(), u)
    with torch.no_grad():
        eps = 1e-5
        ends = [(step(u + sign * eps * wind) * weight).sum() for sign in (1, -1)]
    expected = (ends[0] - ends[1]).item() / (2 * eps)
    assert abs(expected) > 1e-3
    assert (gradient * wind).sum().item() == pytest.approx(expected, rel=1e-6)


def test_a_batch_is_its_members():
    step = surrogate(force=0.5 * flow(7))
    fields = torch.stack([flow(1), flow(2)])
    with torch.no_grad():
        together, alone = step(fields), torch.cat([step(f[None]) for f in fields])
    assert torch.allclose(together, alone, atol=1e-12)


def test_what_cannot_be_is_refused_in_one_line():
    windy = flow(1)[None] + 1.0
    with pytest.raises(InputError, match="mean flow"):
        surrogate(force=flow(2))(windy)
    bare = sample(flow(1)).replace(conditions={})
    with pytest.raises(InputError, match="interval"):
        FlowEncoder(channels=4).tokenize(bare)
    with pytest.raises(InputError, match="interval"):
        for_sample(model(), bare)


@pytest.fixture(scope="module")
def test_set() -> list[Sample]:
    return list(open_dataset(TURBULENCE_2D_STEPS.folder, split="test"))


def test_consecutive_rows_are_one_trajectory(test_set):
    """The change of one row leads to the velocity of the next, within the stored precision."""
    by_trajectory: dict[str, list[Sample]] = {}
    for s in test_set:
        by_trajectory.setdefault(s.id.rsplit("-", 1)[0], []).append(s)
    assert len(by_trajectory) >= 4
    for rows in by_trajectory.values():
        states = velocities(rows)
        for number, after in enumerate(rows[1:]):
            change = torch.tensor(rows[number].labels["velocity_change"], dtype=torch.float64)
            reached = states[number] + change.T.reshape(2, 32, 32)
            stored = torch.tensor(after.fields["velocity"], dtype=torch.float64)
            assert (reached - stored).abs().max() < 1e-3 * stored.abs().max()


def test_the_stored_change_is_what_the_coarse_solver_nearly_does(test_set):
    """Without subgrid stress the coarse solver misses a part of the change, not most of it."""
    errors = []
    for s in test_set[::9]:
        u = torch.tensor(s.fields["velocity"], dtype=torch.float64)
        grid = Grid(32, 32)
        sim = NavierStokes2D(
            height=32,
            width=32,
            viscosity=s.conditions["viscosity"],
            drag=s.conditions["drag"],
            dt=0.0125,
            force_curl=_curl(torch.tensor(s.fields["force"], dtype=torch.float64), grid),
        )
        with torch.no_grad():
            predicted = sim.velocity(sim(sim.from_velocity(u), 8))[0] - u
        change = torch.tensor(s.labels["velocity_change"], dtype=torch.float64).T.reshape(2, 32, 32)
        errors.append(((predicted - change).norm() / change.norm()).item())
    assert max(errors) < 0.4
    assert min(errors) > 1e-3


def test_scores_of_a_perfect_and_of_no_forecast(test_set):
    from sfm_fluids.evaluation.forecast import coarse_solver, persistence, scores
    from sfm_fluids.flows.trajectories import trajectories

    groups = list(trajectories(test_set).values())[:2]
    truth = {g[0].id: velocities(g)[1:] for g in groups}
    table = scores(
        [s for g in groups for s in g],
        {
            "perfect": lambda sample, steps: truth[sample.id],
            "persistence": persistence,
            "solver": coarse_solver,
        },
    )
    assert table["perfect"]["vrmse"].abs().max() == 0
    assert torch.allclose(table["perfect"]["energy_ratio"], torch.ones(10, dtype=torch.float64))
    for key in ("vrmse", "nrmse"):
        still, solved = table["persistence"][key], table["solver"][key]
        assert (still.diff() > 0).all()
        assert (solved < 0.5 * still).all()
