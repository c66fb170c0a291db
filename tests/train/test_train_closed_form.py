"""Closed forms: exact where there is an exact answer, stored like any head, judged by labels."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from sfm.config import Target
from sfm.data.storage import open_dataset
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.kernel import FEATURES, matern, squared_distances
from sfm.nn.uncertainty import NORMAL, LastLayerUncertainty, interval_factor
from sfm.quantity import Quantity
from sfm.recipe import MODES, FinetuneRecipe
from sfm.train.closed_form import (
    Form,
    Inputs,
    answers,
    fit_form,
    forms_of,
    gather,
    install,
    labelled,
    with_levels,
)
from sfm.train.cross_fit import cross_fitted
from sfm.train.finetune import finetune
from sfm.train.finetune_task import make_task
from sfm.train.gaussian import fit_gaussian
from sfm.train.pretrain import pretrain
from sfm.train.selection import closed_form
from sfm.train.sources import open_source
from sfm.train.trained import shorter, train, without_split
from sfm.train.trial import Winner

PART = "spiders/points"


@pytest.fixture(scope="module")
def base(make_recipe, tmp_path_factory):
    return pretrain(make_recipe(steps=40), tmp_path_factory.mktemp("base") / "model", log=False)


def rows(n: int = 40, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=g, dtype=torch.float64)
    noise = 0.1 * torch.randn(n, generator=g, dtype=torch.float64)
    return x, 3 + x[:, 0] + torch.sin(2 * x[:, 1]) + noise


def test_left_out_predictions_are_those_of_a_fit_without_the_label():
    x, y = rows()
    fit = fit_gaussian({"features": x}, y, {"features": True})
    v, w, length = fit.weights["features"]

    def kernel(a, b):
        return v * (a @ b.T) / a.shape[1] + w * matern(squared_distances(a, b) / length**2)

    for i in (0, 7, 39):
        rest = torch.arange(len(y)) != i
        covariance = kernel(x[rest], x[rest]) + fit.noise * torch.eye(len(y) - 1)
        cross = kernel(x[i : i + 1], x[rest])
        mean = fit.offset + cross @ torch.linalg.solve(covariance, y[rest] - fit.offset)
        alone = kernel(x[i : i + 1], x[i : i + 1])[0, 0] + fit.noise
        variance = alone - cross[0] @ torch.linalg.solve(covariance, cross[0])
        assert float(fit.left_out[i]) == pytest.approx(float(mean), rel=1e-8)
        assert float(fit.left_out_sigma[i]) == pytest.approx(float(variance.sqrt()), rel=1e-8)


def test_the_marginal_likelihood_finds_noise_and_signal():
    x, y = rows(150)
    fit = fit_gaussian({"features": x}, y, {"features": True})
    assert fit.noise**0.5 == pytest.approx(0.1, rel=0.35)
    # only noise: nothing is learned
    noise = fit_gaussian({"features": x}, torch.roll(y, 71), {"features": True})
    spread = float((y - y.mean()).square().mean().sqrt())
    assert noise.noise**0.5 > 0.8 * spread


def test_a_skewed_label_is_learned_where_it_is_straight():
    """The exponential of what the kernel can say: errors fall by a tenth and more, both ways."""
    x, y = rows(160)
    for sign in (1, -1):
        labels = sign * torch.exp(0.8 * (y - y.mean()))
        off = {}
        for skewed in (False, True):
            fit = fit_gaussian({"features": x[:80]}, labels[:80], {"features": True}, skewed=skewed)
            off[skewed] = float((fit.left_out - labels[:80]).abs().mean())
            assert (float(fit.bend.skew) * sign > 0.2) == skewed
        assert off[True] < 0.9 * off[False]
    straight = fit_gaussian({"features": x}, y, {"features": True}, skewed=True)
    assert abs(float(straight.bend.skew)) < 0.1


def test_what_adds_up_is_not_bent(base):
    model = FoundationModel.from_pretrained(base)
    for extensive in (False, True):
        quantity = Quantity("heat", "eV", extensive=extensive)
        grown = model.extended([Target(PART, "flat", "heat")], (), {"heat": quantity})
        forms = forms_of(grown, Target(PART, "flat", "heat"), descriptors=[], known=False)
        assert {f.name for f in forms if f.skewed} == (set() if extensive else {"ridge", "gp"})


def test_ninety_per_cent_intervals_hold_ninety_per_cent():
    g = torch.Generator().manual_seed(1)
    ratios = (3 * torch.randn(400, generator=g, dtype=torch.float64)).abs()
    factor = interval_factor(ratios[:200])
    covered = (ratios[200:] < 1.645 * factor).double().mean()
    assert 0.85 < covered < 0.95


def test_twenty_five_errors_of_a_trial_hold_ninety_per_cent():
    """Also where errors have heavy tails; their root mean square holds fewer."""
    g = torch.Generator().manual_seed(2)
    inside: dict[str, list[float]] = {"quantile": [], "root mean square": []}
    unit = LastLayerUncertainty(1, 4)
    for _ in range(300):
        f = torch.randn(425, 4, generator=g, dtype=torch.float64)
        size = torch.einsum("si,ij,sj->s", f, torch.linalg.inv(f[:100].T @ f[:100]), f).sqrt()
        # a normal variable over the root mean square of five others has Student's distribution
        normal = torch.randn(6, 425, generator=g, dtype=torch.float64)
        errors = size * normal[0] / normal[1:].square().mean(0).sqrt()
        unit.calibrate(0, f[:100], f[100:125], errors[100:125])
        sigma, _ = unit(f[125:], torch.zeros(300, dtype=torch.long))
        rms = (errors / size)[100:125].square().mean().sqrt() * size[125:]
        for name, width in (("quantile", sigma), ("root mean square", rms)):
            inside[name].append(float((errors[125:].abs() < NORMAL * width).double().mean()))
    quantile, rms = (sum(v) / len(v) for v in inside.values())
    assert rms < 0.90 < quantile < 0.94  # 24 of 26 is 0.923


def test_a_floor_narrows_intervals_of_hardly_more_labels_than_features():
    """Where features tell nothing of the errors, one width for all is best (1.08 true ones)."""
    g = torch.Generator().manual_seed(4)
    first = torch.zeros(400, dtype=torch.long)
    widths: dict[str, list[float]] = {"floor": [], "none": []}
    inside = []
    unit = LastLayerUncertainty(1, 64)
    for _ in range(20):
        f = torch.randn(500, 64, generator=g, dtype=torch.float64)
        errors = torch.randn(500, generator=g, dtype=torch.float64)
        unit.calibrate(0, f[:67], f[67:100], errors[67:100])
        sigma, _ = unit(f[100:], first)
        widths["floor"].append(float(sigma.square().mean()))
        inside.append(float((errors[100:].abs() < NORMAL * sigma).double().mean()))
        size = unit.rigidity(f[67:], first[:1].expand(433)).sqrt()
        alone = interval_factor(errors[67:100].abs() / size[:33])
        widths["none"].append(float((alone * size[33:]).square().mean()))
    floor, none = ((sum(v) / len(v)) ** 0.5 for v in widths.values())
    assert 0.88 < sum(inside) / len(inside) < 0.95
    assert floor < 1.3 < none


def test_intervals_count_the_search_for_the_kernel(base):
    """Few labels, many inputs: leave-one-out errors of a fitted kernel are too small."""
    model = FoundationModel.from_pretrained(base)
    task = make(base)
    grown = with_levels(model, task, {})
    target = Target(task.encoder, task.levels[0], "extent")
    g = torch.Generator().manual_seed(3)
    inside: dict[str, list[float]] = {"left out": [], "cross-fitted": []}
    names = (FEATURES, *"bcdef")
    for _ in range(6):
        raw = {n: torch.randn(340, 8, generator=g, dtype=torch.float64) for n in names}
        x = raw[FEATURES]
        y = x[:, :3].sum(1) + torch.sin(2 * x[:, 3]) + torch.randn(340, generator=g)
        whole = Inputs(target, raw, y, {}, {}, tuple(map(str, range(340))))
        fitted = fit_form(Form("gp", names, smooth=True), whole.of(range(40)))
        (crossed,) = cross_fitted(grown, [fitted])
        new = whole.of(range(40, 340))
        for name, fit in {"left out": fitted, "cross-fitted": crossed}.items():
            values, sigma = answers(grown, fit, new)
            covered = (values - new.labels).abs() < NORMAL * sigma
            inside[name].append(float(covered.double().mean()))
    left_out, crossed = (sum(v) / len(v) for v in inside.values())
    assert left_out < 0.86 < crossed < 0.95, inside


def test_forms_are_judged_by_labels_whose_relatives_are_left_out(base):
    """Labels by family: what remembers families looks best among relatives, and not elsewhere."""
    model = FoundationModel.from_pretrained(base)
    task = make(base)
    grown = with_levels(model, task, {})
    target = Target(task.encoder, task.levels[0], "extent")
    g = np.random.default_rng(1)
    centres = np.repeat(g.normal(size=(60, 5)), 2, 0)
    x = torch.from_numpy(centres + 0.02 * g.normal(size=centres.shape))
    y = x[:, 0] + torch.from_numpy(np.repeat(0.5 * g.normal(size=60), 2))
    inputs = Inputs(target, {FEATURES: x}, y, {}, {}, tuple(map(str, range(120))))
    forms = [Form("line", (FEATURES,)), Form("memory", (FEATURES,), smooth=True)]
    near = [fit_form(form, inputs.of(range(80))) for form in forms]
    far = cross_fitted(grown, near)
    new = [float((answers(grown, f, inputs.of(range(80, 120)))[0] - y[80:]).abs().mean())
           for f in near]  # fmt: skip
    assert near[1].mae < 0.6 * near[0].mae  # leave-one-out
    for fitted, error in zip(far, new, strict=True):
        assert fitted.mae == pytest.approx(error, rel=0.35)
    assert far[1].mae > 1.5 * near[1].mae
    assert [f.how for f in far] == ["left out with relatives, 5 folds"] * 2


def test_a_closed_form_is_a_head_like_any_other(base, tmp_path):
    out = finetune(base, "spiders/held-webs", "extent", "gp", tmp_path / "gp", log=False)
    report = json.loads((out / "report.json").read_text())
    assert report["mode"] == "gp"
    assert {c["name"] for c in report["candidates"]} >= {"mean", "composition", "ridge", "gp"}
    (row,) = report["target"]
    assert row["after_mae"] < row["baseline_mae"]
    old, new = FoundationModel.from_pretrained(base), FoundationModel.from_pretrained(out)
    before, after = old.state_dict(), new.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("trunk.layers"))
    webs = [s for s, _ in zip(make(base).test, range(4), strict=False)]
    said = new.predict(webs)
    assert [p.data.keys() for p in said] == [said[0].data.keys()] * len(said)
    for p in said:
        assert "extent" in p.data
        assert p.uncertainty["extent"] > 0
    again = FoundationModel.from_pretrained(new.save_pretrained(tmp_path / "copy")).predict(webs)
    assert [float(p["extent"]) for p in again] == [float(p["extent"]) for p in said]


def make(base, target="extent"):
    model = FoundationModel.from_pretrained(base)
    source = open_source("spiders/held-webs", whole=False)
    return make_task(model, source, target, FinetuneRecipe())


def test_an_energy_in_closed_form_has_its_own_forces(base, toy):
    """Forces of the corrected energy against finite differences, and under rotation."""
    model = FoundationModel.from_pretrained(base).double()
    samples = [s.replace(level="better", labels={"energy": 1.02 * s.labels["energy"]})
               for s in open_dataset(toy / "held-webs")]  # fmt: skip
    task = make_task(model, open_source(samples, whole=False), "energy", FinetuneRecipe())
    outcome = closed_form(model, task, "delta")
    fitted = outcome.model
    assert outcome.mode.startswith("delta")
    sample = task.test[0]
    tokens = fitted.tokenize(PART, [sample], "better")
    asked = {PART: ["energy", "forces"]}
    forces = fitted({PART: tokens}, asked)[PART]["forces"].detach()
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2)):
        energies = []
        for sign in (1, -1):
            moved = tokens.positions.clone()
            moved[atom, axis] += sign * step
            with torch.no_grad():
                energies.append(fitted({PART: tokens.replace(positions=moved)}, {PART: ["energy"]}))
        up, down = (float(e[PART]["energy"][0]) for e in energies)
        assert float(forces[atom, axis]) == pytest.approx(-(up - down) / (2 * step), abs=2e-5)


def test_levels_of_one_quantity_do_not_mix(base, toy):
    """The closed form serves its level; the old head the others, also in one batch."""
    model = FoundationModel.from_pretrained(base)
    samples = [s.replace(level="other", labels={"energy": s.labels["energy"] + 9.0})
               for s in open_dataset(toy / "held-webs")]  # fmt: skip
    task = make_task(model, open_source(samples, whole=False), "energy", FinetuneRecipe())
    fitted = closed_form(model, task, "delta").model
    sample = task.test[0]
    tokens = [fitted.tokenize(PART, [sample], level) for level in ("pair", "other")]
    with torch.no_grad():
        apart = [fitted({PART: t}, {PART: ["energy"]})[PART]["energy"] for t in tokens]
        both = fitted({PART: Tokens.cat(tokens)}, {PART: ["energy"]})[PART]["energy"]
        old = model({PART: model.tokenize(PART, [sample], "pair")}, {PART: ["energy"]})
    torch.testing.assert_close(torch.cat(apart), both, rtol=1e-9, atol=1e-4)
    assert float(apart[0]) == pytest.approx(float(old[PART]["energy"]), abs=1e-4)
    label = float(sample.labels["energy"])  # of the other level
    assert abs(float(apart[1]) - label) < abs(float(apart[0]) - label)


def test_what_is_fitted_is_what_is_predicted(base):
    """A form installed in the model says of training systems what the fit says of them."""
    model, task = FoundationModel.from_pretrained(base), make(base)
    target = Target(PART, "pair", "extent")
    grown = with_levels(model, task, {})
    inputs = gather(grown, task, target, labelled(task, target))
    form = next(f for f in forms_of(grown, target, descriptors=[], known=False) if f.name == "gp")
    fitted = fit_form(form, inputs)
    installed = install(grown, [fitted])
    said = [float(p["extent"]) for p in installed.predict(list(labelled(task, target)))]
    gaussian = fitted.gaussian
    kernel = gaussian.cholesky @ gaussian.cholesky.T - gaussian.noise * torch.eye(len(said))
    by_hand = gaussian.bend.back(gaussian.offset + kernel @ gaussian.coefficients)
    np.testing.assert_allclose(said, by_hand.numpy(), rtol=1e-5, atol=1e-5)


def test_full_training_would_break_closed_forms_and_says_so(base, tmp_path):
    out = finetune(base, "spiders/held-webs", "extent", "ridge", tmp_path / "r", log=False)
    with pytest.raises(InputError, match=r"says extent at pair in closed form.*mode 'full'"):
        finetune(out, "spiders/webs", "arrow", "full", tmp_path / "f", log=False)


def test_auto_takes_the_best_and_names_all(base, tmp_path):
    recipe = FinetuneRecipe(budget=0)
    out = finetune(
        base, "spiders/held-webs", "extent", None, tmp_path / "a", recipe=recipe, log=False
    )
    report = json.loads((out / "report.json").read_text())
    (chosen,) = [c for c in report["candidates"] if c["chosen"]]
    assert chosen["mae"] == min(c["mae"] for c in report["candidates"])
    assert "full was not tried" in report["note"]
    assert report["asked"] == "auto"
    assert report["forgetting"]["note"].startswith("nothing is forgotten")


def test_training_that_won_is_calibrated_by_the_errors_of_its_trial(base, tmp_path):
    """All labels are trained on, so that none is left to calibrate with."""
    model = FoundationModel.from_pretrained(base)
    whole = make(base)
    task = dataclasses.replace(whole, validation=[])
    plan = shorter(FinetuneRecipe(mode="full"), 5, 256)
    held = list(range(12))
    part = without_split(task, held)
    options = {"run": tmp_path, "resolved": {}, "log": False}
    trial = train(model, part, plan, **options).model
    outcome = Winner(plan, trial, part).on_all(model, task, **options)
    (level,) = task.levels
    key = f"{PART}:extent@{level}"
    assert set(outcome.calibrated) == {key}
    test = list(task.test)
    said = outcome.model.predict(test, level=level)
    assert all(p.uncertainty["extent"] > 0 for p in said)
    # of the twelve held-out systems all are inside: 12 / 13 is the least share above 0.9
    systems = list(part.validation)
    sigma = np.array([p.uncertainty["extent"] for p in outcome.model.predict(systems)])
    off = np.array([float(p["extent"]) for p in trial.predict(systems)])
    off -= [float(s.labels["extent"]) for s in systems]
    assert np.abs(off / sigma).max() == pytest.approx(NORMAL, rel=1e-3)


def test_modes_that_do_not_fit_are_refused(base, tmp_path):
    with pytest.raises(InputError, match="one number per system, not for arrow"):
        finetune(base, "spiders/webs", "arrow", "gp", tmp_path / "v", log=False)
    with pytest.raises(InputError, match="nothing that extent could be a difference to"):
        finetune(base, "spiders/held-webs", "extent", "delta", tmp_path / "d", log=False)


def test_the_command_line_knows_all_modes():
    from sfm.cli import finetune as command

    assert command.MODES == MODES
    literal = FinetuneRecipe.model_fields["mode"].annotation
    assert literal.__args__ == MODES


def test_a_related_quantity_is_a_baseline(base):
    """Minus the energy plus numbers per atom: the difference to the model's own energy is small."""
    from sfm.quantity import Quantity

    model, task = FoundationModel.from_pretrained(base), make(base, "energy")
    heat = Quantity("heat", "eV", extensive=True, affine=("energy", -1.0))
    samples = [s.replace(labels={"heat": 3.0 * len(s.types) - s.labels["energy"]})
               for s in task.train]  # fmt: skip
    task = dataclasses.replace(
        task,
        goals={"heat": task.goals["energy"]},
        present=(("pair", "heat"),),
        train=samples,
        definitions={"heat": heat},
    )
    outcome = closed_form(model, task, "auto")
    errors = {c.name: c.mae for c in outcome.candidates}
    assert errors["delta energy"] < 0.8 * errors["composition"]
    assert outcome.mode.startswith("delta energy")


def test_the_config_of_a_closed_form_comes_back_as_it_was(base):
    """Through JSON and its schema: nested options, dots in a level's name, an affine quantity."""
    from sfm.config import HeadSpec, ModelConfig
    from sfm.quantity import Quantity

    config = FoundationModel.from_pretrained(base).config
    options = {
        "points": 40,
        "widths": {"composition": 5},
        "descriptors": {"molecules/rdkit": ["MolWt", "TPSA"]},
        "baseline": {"quantity": "energy", "factor": -1.0, "references": False, "per_token": False},
        "kind": "delta energy gp",
    }
    head = HeadSpec(PART, "heat", "core/kernel", options, "experiment 1.3")
    heat = Quantity("heat", "eV", extensive=True, affine=("energy", -1.0))
    grown = dataclasses.replace(
        config, heads=(*config.heads, head), quantities={**config.quantities, "heat": heat}
    )
    assert ModelConfig.from_dict(json.loads(json.dumps(grown.to_dict()))) == grown
    assert "." not in head.key
