"""Encoder, head and closure: exact symmetries, batches, gradients, and the Clark start."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sfm_fluids.closures.classical import GradientModel, subgrid_dissipation
from sfm_fluids.evaluation.metrics import a_priori, correlation, relative_error
from sfm_fluids.flows.flows_2d import random_vorticity
from sfm_fluids.patches.encoder import PatchEncoder
from sfm_fluids.patches.grid_symmetry import QUARTER, quarter_turn
from sfm_fluids.patches.stress_head import GAIN, StressHead, tensor_basis
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.quantities import SGS_STRESS
from sfm_fluids.spectral.grid_2d import Grid, velocity

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.symmetry import random_rotation, rotate_tokens

PART = "fluids/patches"


def flow(points: int, seed: int, width: int | None = None) -> np.ndarray:
    grid = Grid(points, width or points, 1.0 * points, 1.0 * (width or points))
    return velocity(random_vorticity(grid, 3.0, 1.0, seed), grid).numpy()


def sample(field: np.ndarray, name: str = "a flow") -> Sample:
    return Sample(id=name, domain="fluids", level="DNS", fields={"velocity": field})


def model(dtype: torch.dtype = torch.float64, patch: int = 2) -> FoundationModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
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
        network = FoundationModel(config)
        for parameter in network.heads.parameters():  # a head away from its simple start
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return network.to(dtype)


def stress_of(m: FoundationModel, *samples: Sample) -> torch.Tensor:
    with torch.no_grad():
        return m({PART: m.tokenize(PART, samples)}, {PART: ["sgs_stress"]})[PART]["sgs_stress"]


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_output_follows_every_symmetry_of_the_grid(dtype, tolerance, patch):
    m, here = model(dtype, patch), sample(flow(16, 1, 24))
    before = stress_of(m, here)
    names = []
    for name, move, turned in m.encoder(PART).symmetries(torch.Generator().manual_seed(1)):
        moved = stress_of(m, move(here))
        error = (moved - turned("sgs_stress", before)).abs().max() / before.abs().max()
        assert error < tolerance, (name, error)
        names.append(name)
    assert names == ["rotation", "reflection", "translation", "boost"]


def test_features_turn_with_the_flow():
    """Tokens of the turned flow are the turned tokens, feature by feature."""
    encoder, u = PatchEncoder(channels=4), flow(16, 2)
    here, there = encoder.tokenize(sample(u)), encoder.tokenize(sample(quarter_turn(u).copy()))
    turn = torch.eye(3, dtype=torch.float64)
    turn[:2, :2] = torch.from_numpy(QUARTER)
    moved = rotate_tokens(here, turn)
    order = torch.rot90(torch.arange(64).reshape(8, 8)).flatten()
    for name in ("scalars", "vectors", "tensors"):
        a, b = getattr(moved, name)[order], getattr(there, name)
        assert (a - b).abs().max() < 1e-12 * b.abs().max(), name
        assert (b.abs().amax(tuple(range(b.ndim - 1))) > 1e-3).all(), f"a dead feature in {name}"


@pytest.mark.parametrize("improper", [False, True])
def test_a_turn_of_the_tokens_in_space_changes_nothing_on_the_grid(improper):
    m = model()
    tokens = m.tokenize(PART, [sample(flow(16, 3))])
    turn = random_rotation(torch.Generator().manual_seed(2)) * (-1.0 if improper else 1.0)
    with torch.no_grad():
        a, b = (
            m({PART: t}, {PART: ["sgs_stress"]})[PART]["sgs_stress"]
            for t in (tokens, rotate_tokens(tokens, turn))
        )
    assert (a - b).abs().max() < 1e-12 * a.abs().max()


def test_speed_and_size_of_box_scale_out():
    m, u = model(), flow(16, 4)
    assert torch.allclose(stress_of(m, sample(3.0 * u)), 9.0 * stress_of(m, sample(u)), rtol=1e-9)


def test_batch_equals_singles_and_the_tiled_flow_repeats():
    m = model()
    a, b = sample(flow(16, 5), "a"), sample(flow(8, 6, 16), "b")
    both = stress_of(m, a, b)
    assert torch.allclose(both[:256], stress_of(m, a), atol=1e-12)
    assert torch.allclose(both[256:], stress_of(m, b), atol=1e-12)
    tiled = stress_of(m, sample(np.tile(flow(16, 5), (1, 1, 2)))).reshape(16, 32, 2, 2)
    assert torch.allclose(tiled[:, :16].reshape(-1, 2, 2), both[:256], atol=1e-11)


def test_batched_tokens_equal_concatenated_ones():
    encoder = PatchEncoder(channels=4)
    fields = torch.from_numpy(np.stack([flow(16, s) for s in (1, 2, 3)]))
    batch = encoder.tokenize_field(fields)
    from sfm.data.tokens import Tokens

    single = Tokens.cat([encoder.tokenize(sample(f.numpy())) for f in fields])
    for name in ("positions", "scalars", "vectors", "tensors", "edges", "shifts", "system", "cell"):
        assert torch.allclose(getattr(batch, name).double(), getattr(single, name).double()), name
    for name in batch.extras:
        assert torch.allclose(batch.extras[name].double(), single.extras[name].double()), name
    assert batch.n_tokens == 3 * 64
    assert batch.n_edges == 3 * 64 * 20


def test_an_untrained_head_starts_at_the_gradient_model():
    encoder = PatchEncoder(channels=8)
    head = StressHead(SGS_STRESS, 8).double()
    u = torch.from_numpy(flow(16, 7))[None]
    tokens = encoder.tokenize_field(u)
    zero = encoder.double()(tokens)
    zero = zero.replace(
        scalars=0 * zero.scalars, vectors=0 * zero.vectors, tensors=0 * zero.tensors
    )
    torch.nn.init.zeros_(head.coefficients.outer.weight)
    got = head(zero, tokens).reshape(16, 16, 2, 2).permute(2, 3, 0, 1) / GAIN
    assert torch.allclose(got, GradientModel(3.0)(u, 1.0)[0], atol=1e-12)


def test_basis_is_symmetric_and_spans_the_strain():
    strain = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis = tensor_basis(strain, torch.ones(5, 2, dtype=torch.float64))
    assert torch.equal(basis, basis.transpose(-1, -2))
    s = torch.stack((strain[:, 0], strain[:, 1], strain[:, 1], -strain[:, 0]), -1).reshape(5, 2, 2)
    rotation = strain[:, 2, None, None] * torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).double()
    assert torch.allclose(basis[:, 0], s)
    assert torch.allclose(basis[:, 2], s @ rotation - rotation @ s)


def test_the_closure_runs_in_the_solver_and_gradients_pass_through_both():
    m = model()
    closure = m.closure("fluids")
    sim = NavierStokes2D(height=8, width=8, dt=0.01, forcing_wavenumber=1, closure=closure)
    start = sim.state()
    sim(start, 2).vorticity.square().sum().backward()
    weight = m.heads[f"{PART}:sgs_stress"].start
    exact = weight.grad[2].item()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[2] += sign * 1e-5
            values.append(sim(start, 2).vorticity.square().sum().item())
            weight[2] -= sign * 1e-5
    assert exact == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)
    assert all(p.grad is not None for p in m.trunk.layers[0].parameters())


def test_gradcheck_of_the_closure():
    closure = model().closure("fluids")
    u = torch.from_numpy(flow(4, 8)).unsqueeze(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: closure(v, 0.5), u, atol=1e-6, fast_mode=True)


def test_closure_options():
    m = model()
    u = torch.from_numpy(np.stack([flow(16, 1), flow(16, 2)]))
    with torch.no_grad():
        full = m.closure("fluids")(u, 1.0)
        dense = m.closure("fluids", collapsed=True)(u, 1.0)
        clipped = m.closure("fluids", no_backscatter=True)(u, 1.0)
    rows = stress_of(m, sample(u[0].numpy())).reshape(16, 16, 2, 2).permute(2, 3, 0, 1)
    assert torch.allclose(full[0], rows, atol=1e-12)
    assert torch.allclose(full, dense, atol=1e-10)
    assert (subgrid_dissipation(u, full, 1.0) < 0).any()
    assert (subgrid_dissipation(u, clipped, 1.0) > -1e-12).all()


def test_a_flow_at_rest_has_no_stress_and_finite_gradients():
    m = model()
    u = torch.zeros(1, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    stress = m.closure("fluids")(u, 1.0)
    stress.sum().backward()
    assert stress.abs().max() < 1e-12
    assert torch.isfinite(u.grad).all()


def test_mistakes_are_named():
    encoder = PatchEncoder(channels=4, patch=3)
    with pytest.raises(InputError, match="a flow: a field of 16 x 16 cells does not divide"):
        encoder.tokenize(sample(flow(16, 1)))
    with pytest.raises(InputError, match="no field 'velocity'"):
        encoder.tokenize(Sample(id="x", domain="fluids"))
    with pytest.raises(InputError, match=r"not \(2, H, W\)"):
        encoder.tokenize(sample(np.zeros((3, 9, 9))))


def test_metrics():
    exact = np.random.default_rng(0).normal(size=(50, 2, 2))
    assert relative_error(exact, exact) == 0
    assert relative_error(0 * exact, exact) == 1
    assert correlation(3 * exact, exact) == pytest.approx(1)
    assert correlation(0 * exact, exact) == 0
    u = flow(16, 9)
    label = GradientModel()(torch.from_numpy(u)[None], 1.0)[0].permute(2, 3, 0, 1)
    row = sample(u).replace(
        labels={"sgs_stress": label.reshape(-1, 2, 2).numpy()}, cell=np.diag([16.0, 16.0, 1.0])
    )
    table = a_priori([row], {})
    assert table["gradient"]["relative_error"] < 1e-12
    assert table["gradient"]["flux_correlation"] == pytest.approx(1)
    assert table["zero"]["relative_error"] == 1
