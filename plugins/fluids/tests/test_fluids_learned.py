"""Learned closures: symmetries through a whole solver step, gradients, training, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_fluids.flows.flows_2d import random_vorticity
from sfm_fluids.learned.convolutional import ConvolutionalClosure
from sfm_fluids.learned.local import LocalClosure
from sfm_fluids.learned.training import StressErrors, deviator, fit, load, save, sharp
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.quantities import SGS_STRESS
from sfm_fluids.spectral.filters import Filter, cut_off, outer
from sfm_fluids.spectral.grid_2d import Grid, velocity

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.data.sample import Sample
from sfm.errors import InputError, RecipeError
from sfm.model import FoundationModel
from sfm.recipe import parse
from sfm.registry import find
from sfm.train.tasks import open_tasks
from sfm.train.through import through_terms

PART = "fluids/patches"
COARSE = Grid(32, 32)
WIDTH = 3 * COARSE.isotropic_spacing
TURN = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
MIRROR = torch.tensor([[-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)


def flow(points: int, *seeds: int) -> torch.Tensor:
    grid = Grid(points, points, 1.0 * points, 1.0 * points)
    return torch.stack([velocity(random_vorticity(grid, 3.0, 1.0, s), grid) for s in seeds])


def moves(moved, matrix):
    """A symmetry on velocities (B, 2, H, W) and on stresses (B, 2, 2, H, W)."""

    def on_velocity(u):
        return torch.einsum("ij,bjyx->biyx", matrix.to(u), moved(u))

    def on_stress(tau):
        return torch.einsum("ik,bklyx,jl->bijyx", matrix.to(tau), moved(tau), matrix.to(tau))

    return on_velocity, on_stress


SYMMETRIES = {
    "rotation": moves(lambda f: torch.rot90(f, dims=(-2, -1)), TURN),
    "reflection": moves(lambda f: f.flip(-1), MIRROR),
    "shift by one cell": moves(lambda f: f.roll((1, 2), (-2, -1)), torch.eye(2).double()),
}


def trunk_closure(dtype: torch.dtype, patch: int, shifts: str) -> torch.nn.Module:
    config = ModelConfig(
        trunk={"channels": 16, "layers": 2, "experts": 2, "radial": 6, "carried": 8},
        encoders={PART: {"patch": patch}},
        encoder_domains={PART: "fluids"},
        heads=(HeadSpec(PART, "sgs_stress", "fluids/sgs_stress"),),
        targets=(Target(PART, "DNS", "sgs_stress"),),
        contexts=((PART, "DNS"),),
        quantities={"sgs_stress": SGS_STRESS},
        plugins={},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FoundationModel(config)
        for parameter in model.heads.parameters():  # a head away from its simple start
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.to(dtype).encoder(PART).closure(model, shifts=shifts)


def local(dtype: torch.dtype, **options) -> LocalClosure:
    closure = LocalClosure(scales=2, **options)
    generator = torch.Generator().manual_seed(1)
    for p in closure.parameters():
        p.data.add_(0.1 * torch.randn(p.shape, generator=generator))
    return closure.to(dtype)


CLOSURES = {
    "trunk, patch 1": lambda dtype: trunk_closure(dtype, 1, "one"),
    "trunk, patch 2, all shifts": lambda dtype: trunk_closure(dtype, 2, "all"),
    "local, perceptron": lambda dtype: local(dtype, hidden=8),
    "local, algebra": lambda dtype: local(dtype, hidden=0),
}


@pytest.mark.parametrize("name", CLOSURES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_closure_and_a_whole_step_follow_every_symmetry_of_the_grid(name, dtype, tolerance):
    closure, u = CLOSURES[name](dtype), flow(16, 1, 2).to(dtype)
    sim = NavierStokes2D(
        height=16, width=16, dt=0.02, closure=closure, forcing_wavenumber=0, dtype=dtype
    )

    def step(v: torch.Tensor) -> torch.Tensor:
        return sim.velocity(sim(sim.from_velocity(v), 1))

    with torch.no_grad():
        stress, after = closure(u, 1.0), step(u)
        assert (after - sim.velocity(sim.from_velocity(u))).abs().max() > 1e-3
        for what, (on_velocity, on_stress) in SYMMETRIES.items():
            error = (closure(on_velocity(u), 1.0) - on_stress(stress)).abs().max()
            assert error < tolerance * stress.abs().max(), (what, "stress")
            error = (step(on_velocity(u)) - on_velocity(after)).abs().max()
            assert error < tolerance * after.abs().max(), (what, "step")


def test_one_tiling_follows_whole_patches_only():
    """The control of the test above: a patch of two cells, tiled once, does not follow one cell."""
    closure, u = trunk_closure(torch.float64, 2, "one"), flow(16, 1)
    on_velocity, on_stress = SYMMETRIES["shift by one cell"]
    with torch.no_grad():
        stress = closure(u, 1.0)
        error = (closure(on_velocity(u), 1.0) - on_stress(stress)).abs().max()
        assert error > 0.01 * stress.abs().max()
        error = (closure(u.roll((2, 4), (-2, -1)), 1.0) - stress.roll((2, 4), (-2, -1))).abs().max()
        assert error < 1e-12 * stress.abs().max()
    with pytest.raises(InputError, match="shifts='some' is not one of one, all"):
        trunk_closure(torch.float64, 2, "some")


def test_convolutions_follow_shifts_and_boosts_but_no_turns():
    closure, u = ConvolutionalClosure(layers=3, channels=6).double(), flow(16, 1)
    with torch.no_grad():
        stress = closure(u, 1.0)
        boost = torch.tensor([2.0, -1.0], dtype=torch.float64)[:, None, None]
        assert torch.allclose(closure(u + boost, 1.0), stress, atol=1e-12)
        errors = {}
        for what, (on_velocity, on_stress) in SYMMETRIES.items():
            errors[what] = (closure(on_velocity(u), 1.0) - on_stress(stress)).abs().max()
    assert errors["shift by one cell"] < 1e-12 * stress.abs().max()
    assert errors["rotation"] > 0.1 * stress.abs().max()


@pytest.mark.parametrize(
    "closure",
    [
        local(torch.float64, hidden=4),
        local(torch.float64, hidden=0),
        ConvolutionalClosure(layers=2, channels=3).double(),
    ],
)
def test_plain_closures_scale_have_no_trace_and_right_gradients(closure):
    u = flow(8, 3)
    with torch.no_grad():
        stress = closure(u, 1.0)
        assert torch.allclose(closure(3 * u, 0.1), 9 * stress, rtol=1e-9, atol=1e-12)
    assert torch.equal(stress[:, 0, 0], -stress[:, 1, 1])
    assert torch.equal(stress[:, 0, 1], stress[:, 1, 0])
    small = u[..., ::2, ::2].clone().requires_grad_()
    weights = [p for p in closure.parameters() if p.ndim > 1][:1]
    assert torch.autograd.gradcheck(
        lambda v, *w: closure(v, 1.0), (small, *weights), atol=1e-6, fast_mode=True
    )
    still = torch.zeros(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    closure(still, 1.0).sum().backward()
    assert torch.isfinite(still.grad).all()


def test_the_algebraic_closure_holds_the_smagorinsky_model():
    """c_11 = -2 C^2 sqrt(2 S:S) is one entry of its table."""
    from sfm_fluids.closures.classical import Smagorinsky

    closure, u = LocalClosure(scales=2, hidden=0).double(), flow(16, 4)
    with torch.no_grad():
        closure.table[0, 0, 0] = -4 * 0.17**2  # |S| = sqrt(2 S_ij S_ij) = 2 sqrt(a^2 + b^2)
        assert torch.allclose(closure(u, 1.0), Smagorinsky(0.17)(u, 1.0), atol=1e-6)


def test_a_closure_held_over_a_step_converges_to_the_one_of_every_stage():
    closure, u = local(torch.float64, hidden=8), flow(16, 5)
    ends = {}
    for every in ("stage", "step"):
        for n in (4, 8):
            sim = NavierStokes2D(height=16, width=16, dt=0.2 / n, closure=closure,
                                 forcing_wavenumber=0, closure_every=every)  # fmt: skip
            with torch.no_grad():
                ends[every, n] = sim(sim.from_velocity(u), n).vorticity
    errors = [(ends["step", n] - ends["stage", n]).norm() for n in (4, 8)]
    assert 1.7 < errors[0] / errors[1] < 2.3, "first order in dt"


# --- the exact sharp stress, windows, losses --------------------------------------------------


def test_sharp_velocity_and_stress_follow_from_the_filtered_ones():
    fine = Grid(96, 96)
    u = velocity(random_vorticity(fine, 6.0, 1.0, 3), fine)[None]
    data, cut = Filter(fine, COARSE, WIDTH), Filter(fine, COARSE, 0.0)
    whole, stress = sharp(data(u), data.stress(u))
    assert torch.allclose(whole, cut(u), atol=1e-12)
    exact = cut(outer(u)) - cut_off(outer(cut(u)), COARSE)
    assert torch.allclose(stress, exact, atol=1e-10)
    assert deviator(stress).shape == (1, 2, 32, 32)


def turbulence(times=(0.0, 0.25, 0.5), group: str = "re100-kolmogorov-1") -> list[Sample]:
    """Snapshots of the coarse solver itself at Re 100, in the form of `turbulence-2d`."""
    sim = NavierStokes2D(height=32, width=32, viscosity=0.01, drag=0.1, dt=0.0125,
                         force_curl=_force(group), forcing_wavenumber=0)  # fmt: skip
    state, correlations, done = sim.from_velocity(flow(32, 7) * 5), [], 0
    stress = np.zeros((1024, 2, 2))
    for number, time in enumerate(times):
        with torch.no_grad():
            state, done = sim(state, round(time / 0.0125) - done), round(time / 0.0125)
        correlations.append(
            Sample(
                id=f"{group}-{number:03d}",
                domain="fluids",
                level="DNS",
                fields={"velocity": sim.velocity(state)[0].numpy()},
                conditions={"time": time, "viscosity": 0.01, "drag": 0.1, "reynolds": 100.0},
                labels={"sgs_stress": stress},
            )
        )
    return correlations


def _force(group: str) -> torch.Tensor:
    from sfm_fluids.flows.bundled import filtered_curl, member_of

    return filtered_curl(member_of(group))


def test_runs_are_of_one_trajectory_and_their_loss_is_zero_for_the_exact_solver():
    a, b = turbulence(), turbulence(group="re100-kolmogorov-2")
    rollouts = NavierStokes2D.through(snapshots=1, dt=0.0125)
    mixed = [a[1], b[0], a[0], b[1], a[2], b[2]]
    assert sorted(rollouts.windows(mixed)) == [(0, 4), (1, 3), (2, 0), (3, 5)]
    losses = rollouts.losses(None, [a[:2], b[1:]])
    assert losses.shape == (2,)
    assert losses.max() < 1e-9
    assert NavierStokes2D.through(snapshots=2, dt=0.0125).losses(None, [a]) < 1e-9
    assert (
        NavierStokes2D.through(snapshots=1, dt=0.0125, compare="velocity").losses(None, [a[:2]])
        < 1e-9
    )
    # an empty sharp closure runs the same flow without the Gaussian: another answer, not zero
    empty = LocalClosure(scales=1, hidden=0).double()
    assert rollouts.losses(empty, [a[:2]]) > 1e-3
    assert NavierStokes2D.through(snapshots=2).windows(turbulence((0.0, 0.25, 0.75))) == []
    with pytest.raises(InputError, match=r"dt=0\.1 does not divide the time to the next snapshot"):
        NavierStokes2D.through(dt=0.1).windows(a)
    with pytest.raises(InputError, match="snapshots=0"):
        NavierStokes2D.through(snapshots=0)
    with pytest.raises(InputError, match="compare='energy'"):
        NavierStokes2D.through(compare="energy")


def test_the_loss_through_the_solver_has_the_right_gradient():
    closure, rollouts = (
        local(torch.float64, hidden=0),
        NavierStokes2D.through(snapshots=1, dt=0.125),
    )
    window = turbulence()[:2]

    def loss() -> torch.Tensor:
        return rollouts.losses(closure, [window]).sum()

    loss().backward()
    values, entry = [], closure.table.data[0, 0]
    for sign in (1, -1):
        entry[0] += sign * 1e-5
        values.append(loss().item())
        entry[0] -= sign * 1e-5
    exact = (values[0] - values[1]) / 2e-5
    assert closure.table.grad[0, 0, 0].item() == pytest.approx(exact, rel=1e-5)


def test_training_finds_the_eddy_viscosity_that_made_the_labels(tmp_path):
    """A priori, from labels of a Smagorinsky model; then the file gives the closure back."""
    from sfm_fluids.closures.classical import Smagorinsky

    samples = []
    for seed in range(6):
        u = flow(32, seed)
        label = Smagorinsky(0.2)(u, 1.0)[0].permute(2, 3, 0, 1).reshape(-1, 2, 2)
        samples.append(turbulence((0.0,))[0].replace(
            fields={"velocity": u[0].numpy()}, labels={"sgs_stress": label.numpy()}))  # fmt: skip
    closure = LocalClosure(scales=1, hidden=0, filter_ratio=3.0)
    history = fit(closure, StressErrors(), samples, steps=150, runs=6, lr=0.02)
    assert history[0] == pytest.approx(1, abs=1e-6)
    assert history[-1] < 0.02
    save(closure, tmp_path / "closure.safetensors")
    again, u = load(tmp_path / "closure.safetensors"), flow(32, 9).float()
    assert again.filter_ratio == 3.0
    with torch.no_grad():
        assert torch.equal(again(u, 1.0), closure(u, 1.0))
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        load(tmp_path / "broken.safetensors")
    with pytest.raises(InputError, match="hold no run"):
        fit(closure, NavierStokes2D.through(snapshots=2), samples[:1], steps=1)


# --- the recipe -------------------------------------------------------------------------------


def recipe(**through):
    return {
        "name": "test",
        "tasks": [
            {
                "dataset": "fluids/turbulence-2d",
                "encoder": PART,
                "quantities": {"sgs_stress": 1},
                "through": {"simulator": "fluids/navier-stokes-2d", **through},
            }
        ],
    }


def test_a_recipe_names_the_simulator_and_its_runs():
    from sfm_fluids.flows.trajectories import trajectories

    parsed = parse(recipe(runs=3, options={"snapshots": 2, "dt": 0.05}))
    (term,) = through_terms(parsed, open_tasks(parsed))
    groups = trajectories(open_tasks(parsed)[0].train)
    assert len(term.of_split("train")) == sum(len(g) - 2 for g in groups.values()) > 300
    assert term.chosen(4) == term.chosen(4) != term.chosen(5)
    assert len(term.chosen(0)) == 3


def test_mistakes_in_a_recipe_are_named():
    other = _other_simulators()[0]
    with pytest.raises(RecipeError, match="unknown key"):
        parse(recipe(run=1))
    with pytest.raises(RecipeError, match=f"'{other}' is for"):
        parse(recipe(simulator=other))
    for options, error, text in (
        ({"dt": 0.07}, InputError, r"dt=0\.07 does not divide"),
        ({"length": 3}, RecipeError, "unexpected keyword argument 'length'"),
    ):
        parsed = parse(recipe(options=options))
        with pytest.raises(error, match=text):
            through_terms(parsed, open_tasks(parsed))


def _other_simulators() -> list[str]:
    from sfm.registry import parts

    return [p.full_name for p in parts("simulators") if p.domain != "fluids"]


def test_a_simulator_without_windows_says_so():
    other = find("simulators", _other_simulators()[0]).load()
    with pytest.raises(InputError, match="cannot be trained through yet"):
        other.through()


# --- learned interpolation ---------------------------------------------------------------------


def interpolation(trained: bool):
    from sfm_fluids.learned.interpolation import LearnedInterpolation

    module = LearnedInterpolation(layers=2, channels=4).double()
    if trained:
        generator = torch.Generator().manual_seed(0)
        for p in module.parameters():
            p.data.add_(0.3 * torch.randn(p.shape, generator=generator))
    return module


def test_learned_interpolation_starts_central_and_keeps_constants():
    from sfm_fluids.staggered.interpolation import Linear

    u, v = flow(8, 1, 2).unbind(1)
    for a, b in zip(
        interpolation(False)(u, v, (1.0, 1.0)), Linear()(u, v, (1.0, 1.0)), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-14)
    module = interpolation(True)
    weights = module.weights(u, v)
    assert torch.allclose(weights.sum(2), torch.ones(()).double(), atol=1e-12)
    assert (weights - module.linear[:, None, None]).abs().max() > 0.1
    plain, boosted = (module(u + c, v - c, (1.0, 1.0)) for c in (0.0, 2.0))
    for name, a, b in zip(plain._fields, plain, boosted, strict=True):
        assert torch.allclose(b, a + (2.0 if name.startswith("u") else -2.0), atol=1e-11), name


def test_learned_interpolation_reads_the_values_around_each_side():
    """Weights that are symmetric about a side give the side's own value of a linear ramp."""
    module = interpolation(False)
    module.convolutions[-1].bias.data.normal_(generator=torch.Generator().manual_seed(1))
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    x, y = x.double(), y.double()
    for name in ("u_centre", "u_corner", "v_corner", "v_centre"):
        bias = module.convolutions[-1].bias.data.unflatten(0, (4, 11))
        number = ("u_centre", "u_corner", "v_corner", "v_centre").index(name)
        weights = (module.linear + module.null @ bias[number]).reshape(4, 3)
        ramp = 0.5 * (weights + weights.flip(0, 1))
        bias[number] = module.null.T @ (ramp.flatten() - module.linear)
    at_u, at_v = (x, y + 0.5), (x + 0.5, y)
    sides = {"u_centre": (x + 0.5, y + 0.5), "u_corner": (x, y), "v_corner": (x, y),
             "v_centre": (x + 0.5, y + 0.5)}  # fmt: skip
    for a, b in ((1.0, 0.0), (0.0, 1.0)):
        values = module(a * at_u[0] + b * at_u[1], a * at_v[0] + b * at_v[1], (1.0, 1.0))
        for name, (px, py) in sides.items():
            inner = (slice(3, -3), slice(3, -3))
            assert torch.allclose(getattr(values, name)[inner], (a * px + b * py)[inner]), name


def test_gradcheck_of_the_learned_interpolation():
    module = interpolation(True)
    u, v = (f.clone().requires_grad_() for f in flow(8, 3)[..., ::2, ::2].unbind(1))
    assert torch.autograd.gradcheck(
        lambda a, b, w: tuple(module(a, b, (1.0, 1.0))),
        (u, v, module.convolutions[0].weight),
        fast_mode=True,
    )
