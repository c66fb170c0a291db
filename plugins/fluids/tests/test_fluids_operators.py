"""Operator learners, and the trunk's encoders and heads of the same tasks."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sfm_fluids.darcy.nodes import pressure
from sfm_fluids.data.specs import BURGERS, DARCY, DARCY_32, TURBULENCE_2D_STEPS
from sfm_fluids.evaluation.forecast import coarse_solver
from sfm_fluids.operators.flow import FlowOperator
from sfm_fluids.operators.operator import KINDS, Operator, fit, load, save
from sfm_fluids.operators.symmetry import turned
from sfm_fluids.operators.tasks import TASKS, arrays
from sfm_fluids.patches.line_encoder import LineEncoder
from sfm_fluids.patches.medium_encoder import MediumEncoder
from sfm_fluids.periodic.burgers import Burgers
from sfm_fluids.periodic.burgers_points import REFINED, later_states

import sfm
from sfm.errors import InputError, PluginError
from sfm.model import FoundationModel
from sfm.testing.models import LEVEL, config_for

ROOT = Path(__file__).resolve().parents[3]
SPECS = {"darcy": DARCY, "burgers": BURGERS, "turbulence": TURBULENCE_2D_STEPS}
SMALL = {
    "fourier": {"width": 6, "modes": 4, "layers": 2},
    "deeponet": {"width": 16, "basis": 16},
    "multipole": {"width": 6, "hidden": 6, "cycles": 1},
}


def few(spec, split="train", count=4):
    data = sfm.dataset(f"fluids/{spec.name}", split=split)
    return [data[i] for i in range(count)]


def operator_of(name: str, kind: str, **options) -> Operator:
    if kind == "fourier":
        pytest.importorskip("neuralop", reason="the extra 'operators'")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Operator(name, kind, **SMALL[kind], **options)


def test_points_of_the_benchmark_solve_an_even_medium_to_second_order():
    """a = 1 against the Fourier series of -lap p = 1: the error falls as h^2."""
    errors = []
    for n in (16, 32):
        x = torch.arange(n, dtype=torch.float64) / n
        y, x = torch.meshgrid(x, x, indexing="ij")
        series = torch.zeros_like(x)
        for i in range(1, 60, 2):
            for j in range(1, 60, 2):
                waves = torch.sin(i * torch.pi * x) * torch.sin(j * torch.pi * y)
                series += 16 / (torch.pi**4 * i * j * (i * i + j * j)) * waves
        p = pressure(torch.ones_like(x), torch.ones_like(x), 1 / n)
        errors.append(float((p - series).abs().max()))
        assert series.shape == p.shape
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


def test_the_pressure_at_points_differentiates():
    a = (1 + torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(1)).double()).log()
    x, y = a.clone().requires_grad_(), (0.5 * a).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, y: pressure(x.exp(), y.exp(), 0.25, tolerance=1e-13), (x, y)
    )


@pytest.mark.parametrize("mean", [0.0, 0.3])
def test_later_states_are_those_of_the_solver(mean):
    start = mean + torch.stack([torch.tensor(s.fields["velocity"]) for s in few(BURGERS)])
    states = later_states(start, length=1.0, viscosity=0.01, interval=1 / 16, steps=2)
    hat = torch.fft.rfft(start.double())[:, :8] * REFINED
    sim = Burgers(points=16 * REFINED, length=1.0, viscosity=0.01, dt=1 / 1024)
    state = sim.from_field(torch.fft.irfft(hat, n=16 * REFINED))
    for k in range(2):
        with torch.no_grad():
            state = sim(state, 64)
        assert (state.velocity[:, ::REFINED] - states[:, k]).abs().max() < 1e-8


@pytest.mark.parametrize("name", list(TASKS))
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("known", [False, True])
def test_an_operator_learns_is_saved_and_loaded(name, kind, known, tmp_path):
    operator, samples = operator_of(name, kind, known=known), few(SPECS[name])
    errors = fit(operator, samples, samples, steps=30, size=4, lr=1e-2).validations
    if (name, kind) != ("turbulence", "deeponet"):  # which 2,000 steps do not teach either
        assert min(errors.values()) < errors[0]
    save(operator, tmp_path / "operator.safetensors")
    again = load(tmp_path / "operator.safetensors").predict(samples)
    assert torch.allclose(again, operator.eval().predict(samples), rtol=1e-4, atol=1e-5)
    assert again.shape == arrays(TASKS[name], samples, known=known)[2].shape


@pytest.mark.parametrize("kind", list(KINDS))
def test_darcy_transfers_to_a_finer_grid(kind):
    operator = operator_of("darcy", kind)
    assert operator.predict(few(DARCY_32, None, 2)).shape == (2, 1, 32, 32)


def test_a_multipole_operator_follows_shifts_and_reads_constant_fields_alike():
    """Shifts by whole blocks of the coarsest level; a constant field looks the same on any grid."""
    network = operator_of("turbulence", "multipole").network.double()
    field = torch.randn(1, 7, 32, 32, dtype=torch.float64)
    moved = network(field.roll((16, 16), (2, 3)))
    assert (moved - network(field).roll((16, 16), (2, 3))).abs().max() < 1e-12
    flat = torch.ones(1, 7, 1, 1, dtype=torch.float64)
    coarse, fine = (network(flat.expand(1, 7, n, n)) for n in (32, 64))
    assert (coarse[0, :, 0, 0] - fine[0, :, 0, 0]).abs().max() < 0.1 * coarse.abs().max()


def test_a_deeponet_refuses_grids_between_its_sensors():
    sample = few(DARCY, count=1)[0]
    odd = sample.replace(
        fields={"permeability": sample.fields["permeability"][:12, :12]}, labels={}
    )
    with pytest.raises(InputError, match="multiples"):
        operator_of("darcy", "deeponet").predict([odd])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("darcy", {"fields": {}}, "no field 'permeability'"),
        ("darcy", {"cell": None}, "states no box"),
        ("darcy", {"cell": np.diag([1.0, 2.0, 1.0])}, "needs square ones"),
        ("burgers", {"cell": None, "pbc": np.zeros(3, dtype=bool)}, "states no box"),
        ("burgers", {"conditions": {"interval": 0.1}}, "no positive condition 'viscosity'"),
        ("turbulence", {"conditions": {"viscosity": 0.1}}, "no positive condition 'interval'"),
    ],
)
def test_a_sample_that_lacks_what_a_task_reads_is_refused(name, change, message):
    sample = few(SPECS[name], count=1)[0].replace(labels={}, **change)
    with pytest.raises(InputError, match=message):
        operator_of(name, "deeponet", known=True).predict([sample])


@pytest.mark.parametrize("name", list(TASKS))
def test_symmetries_map_the_solver_to_itself(name):
    """What a turned sample's solver says is what the sample's says, turned."""
    samples = few(SPECS[name], count=2)
    inputs, base, _ = arrays(TASKS[name], samples, known=True)
    for seed in range(3):
        moved = turned((inputs, base), name, torch.Generator().manual_seed(seed))
        for row, sample in enumerate(samples):
            fields = {
                "darcy": lambda x: {"permeability": (x[0] * 1.5 - 2.5).double().exp().numpy()},
                "burgers": lambda x: {"velocity": x[0].double().numpy()},
                "turbulence": lambda x: {
                    "velocity": x[:2].double().numpy(),
                    "force": x[2:4].double().numpy(),
                },
            }[name](moved[0][row])
            again = TASKS[name].example(sample.replace(fields=fields, labels={}), True)
            assert (again.base - moved[1][row]).abs().max() < 2e-5 * moved[1].abs().max()


def test_a_flow_operator_keeps_the_contract_of_the_surrogate():
    """With a network that says nothing, a step is the coarse solver's; it has no divergence."""
    operator = operator_of("turbulence", "deeponet", known=True)
    operator.scale.zero_()
    sample = few(TURBULENCE_2D_STEPS, "test", 1)[0]
    start = torch.tensor(sample.fields["velocity"], dtype=torch.float64)
    run = FlowOperator(operator, sample).rollout(start, 2)
    assert run.shape == (3, 2, 32, 32)
    solved = coarse_solver(sample, 2)
    assert (run[1:] - solved).abs().max() < 1e-5 * solved.abs().max()


def test_a_flow_operator_refuses_what_it_is_not():
    sample = few(TURBULENCE_2D_STEPS, "test", 1)[0]
    with pytest.raises(InputError, match="no step of a flow"):
        FlowOperator(operator_of("darcy", "deeponet"), sample)
    with pytest.raises(InputError, match="states no viscosity"):
        FlowOperator(
            operator_of("turbulence", "deeponet"), sample.replace(conditions={"interval": 0.1})
        )
    flow = FlowOperator(operator_of("turbulence", "deeponet"), sample)
    with pytest.raises(InputError, match=r"moves one flow.*\(32, 32\) cells"):
        flow(torch.zeros(2, 2, 32, 32, dtype=torch.float64))


def test_the_extra_is_named_where_it_is_missing():
    if importlib.util.find_spec("neuralop"):
        pytest.skip("neuraloperator is installed")
    with pytest.raises(PluginError, match=r"sfm-hub\[operators\]"):
        Operator("darcy", "fourier")


def around(part: str, quantity: str) -> FoundationModel:
    """A small float64 model with one encoder and head."""
    config = config_for({part: (quantity,)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FoundationModel(config).double()


def said(model: FoundationModel, part: str, quantity: str, samples) -> torch.Tensor:
    tokens = model.tokenize(part, samples, LEVEL)
    values = model({part: tokens}, {part: (quantity,)})[part][quantity]
    return values.detach().reshape(len(samples), -1)


def test_a_pressure_head_that_says_nothing_is_the_solver():
    samples = few(DARCY, count=2)
    model = around("fluids/medium", "pore_pressure")
    head = next(iter(model.heads.values()))
    for layer in (head.coefficients.outer, head.slopes, head.shapes):
        torch.nn.init.zeros_(layer.weight)
    a = torch.stack([torch.tensor(s.fields["permeability"]) for s in samples]).double()
    expected = pressure(a, a, 1 / 16).flatten(1)
    assert (said(model, "fluids/medium", "pore_pressure", samples) - expected).abs().max() < 1e-8


def test_a_pressure_head_differentiates_through_the_solver():
    """Against a central difference along the gradient itself."""
    samples = few(DARCY, count=1)
    model = around("fluids/medium", "pore_pressure")
    weight = next(iter(model.heads.values())).slopes.weight
    tokens = model.tokenize("fluids/medium", samples, LEVEL)

    def total():
        out = model({"fluids/medium": tokens}, {"fluids/medium": ("pore_pressure",)})
        return out["fluids/medium"]["pore_pressure"].square().sum()

    (slope,) = torch.autograd.grad(total(), weight)
    values, step = [], 1e-3 / slope.norm() * slope
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * step)
            values.append(float(total()))
            weight.sub_(sign * step)
    assert (values[0] - values[1]) / 2 == pytest.approx(float((slope * step).sum()), rel=1e-4)


def test_a_line_head_that_says_nothing_is_the_closed_form():
    samples = few(BURGERS, count=2)
    model = around("fluids/line", "velocity")
    torch.nn.init.zeros_(next(iter(model.heads.values())).outer.weight)
    start = torch.stack([torch.tensor(s.fields["velocity"]) for s in samples])
    viscosity = samples[0].conditions["viscosity"]
    states = later_states(start, length=1.0, viscosity=viscosity, interval=1 / 16, steps=16)
    off = said(model, "fluids/line", "velocity", samples) - states.flatten(1)
    assert off.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": None}, "states no box"),
        ({"pbc": np.array([True, False, False])}, "periodic"),
        ({"cell": np.diag([1.0, 2.0, 1.0])}, "spaced differently"),
        ({"fields": {"permeability": np.zeros((4, 4))}}, "must be positive"),
        ({"fields": {"permeability": np.ones((5, 5))}}, "does not divide into patches"),
    ],
)
def test_a_medium_that_cannot_be_tokens_is_refused(change, message):
    sample = few(DARCY, count=1)[0].replace(labels={}, **change)
    with pytest.raises(InputError, match=message):
        MediumEncoder(channels=4).tokenize(sample)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": {"interval": 0.1}}, "condition 'viscosity'"),
        ({"cell": None, "pbc": np.zeros(3, dtype=bool)}, "states no box"),
        ({"pbc": np.zeros(3, dtype=bool)}, "walls or open ends"),
        ({"fields": {"velocity": np.zeros((2, 8))}}, "is not"),
    ],
)
def test_a_line_that_cannot_be_tokens_is_refused(change, message):
    sample = few(BURGERS, count=1)[0].replace(labels={}, **change)
    with pytest.raises(InputError, match=message):
        LineEncoder(channels=4).tokenize(sample)


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "recipes")
    return importlib.import_module("operators")


def test_the_recipe_measures_the_solver_and_writes_its_table(recipe):
    row = recipe.measured("burgers", "solver", 0)
    assert row["error"] == pytest.approx(0.0132, abs=1e-4)  # what the published page says
    again = recipe.table([row, row | {"seed": 1, "error": row["error"] + 0.02}])
    assert "| solver | 0 | 0.0232 ± 0.014 | 0 |" in again


def test_the_published_table_is_that_of_the_published_rows(recipe):
    rows = json.loads((ROOT / "benchmarks" / "results_operators.json").read_text())
    text = (ROOT / "benchmarks" / "RESULTS_OPERATORS.md").read_text()
    assert recipe.table(rows) in text


def test_learners_have_as_many_parameters_as_the_trunk(recipe):
    """Within a tenth of those of the dense trunk on the same task."""
    trunk = {"darcy": 176_259, "burgers": 169_475, "turbulence": 178_251}
    for (name, kind), learner in recipe.LEARNERS.items():
        if kind == "fourier" and importlib.util.find_spec("neuralop") is None:
            continue
        operator = Operator(name, learner.kind, **learner.options)
        count = sum(p.numel() * (1 + p.is_complex()) for p in operator.parameters())
        assert count == pytest.approx(trunk[name], rel=0.1), (name, kind)


def test_an_unknown_model_is_one_line(recipe, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["operators.py", "--models", "furier"])
    assert recipe.main() == 2
    assert "no model 'furier'" in capsys.readouterr().err
