"""Energies and forces in closed form: exact where algebra is, consistent, stored like any head."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sfm.config import Target
from sfm.data.storage import open_dataset
from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe
from sfm.train.closed_form import labelled
from sfm.train.finetune import finetune
from sfm.train.finetune_task import make_task
from sfm.train.force_forms import FOLDS, fit_force_form, install_forces, reduction
from sfm.train.force_rows import STRAINS, gather_rows, token_invariants
from sfm.train.force_selection import force_targets
from sfm.train.pretrain import pretrain
from sfm.train.sources import open_source

PART, LEVEL = "spiders/points", "better"
TARGET = Target(PART, LEVEL, "energy")


@pytest.fixture(scope="module")
def base(make_recipe, tmp_path_factory):
    return pretrain(make_recipe(steps=20), tmp_path_factory.mktemp("base") / "model", log=False)


@pytest.fixture(scope="module")
def problem(base, toy):
    """A model in float64 that knows the level, the task, its systems and their reduction."""
    model = FoundationModel.from_pretrained(base).double()
    samples = [s.replace(level=LEVEL, labels={k: s.labels[k] for k in ("energy", "forces")})
               for s in open_dataset(toy / "held-webs")]  # fmt: skip
    task = make_task(model, open_source(samples, whole=False), "energy", FinetuneRecipe())
    grown = model.extended([TARGET], (), task.definitions)
    train = labelled(task, TARGET)
    reduced = reduction(token_invariants(grown, TARGET, train))
    systems = gather_rows(grown, TARGET, train, lambda h: (h - reduced[0]) @ reduced[1])
    return grown, task, train, systems, reduced


def rows_of(form, systems):
    """Every row of the regression by hand: matrix, labels, whether it is an energy."""
    head, matrix, labels = form.head, [], []
    alone = form.spec.options["baseline"] is None
    for s in systems:
        matrix.append(head.per_token(s.invariants, s.types).sum(0, keepdim=True))
        rest = s.energy + alone * s.own_energy - float(head.references[s.types].sum())
        labels.append(torch.tensor([rest], dtype=torch.float64))
        matrix.append(head.slopes(s.invariants, s.types, s.moved))
        labels.append(s.slopes + alone * s.own_slopes)
    energy = torch.cat([torch.arange(1 + len(s.slopes)) == 0 for s in systems])
    return torch.cat(matrix).numpy(), torch.cat(labels).numpy(), energy.numpy()


def ridge(matrix, labels, energy, noise, slope_noise, size):
    """Bayesian linear regression with prior variance size^2, by least squares of stacked rows."""
    weight = np.where(energy, noise, slope_noise) ** -0.5
    stacked = np.concatenate([matrix * weight[:, None], np.eye(matrix.shape[1]) / size])
    told = np.concatenate([labels * weight, np.zeros(matrix.shape[1])])
    return np.linalg.lstsq(stacked, told, rcond=None)[0]


def test_the_fit_is_least_squares_of_energies_and_forces_and_leaves_systems_out(problem):
    model, _, _, systems, reduced = problem
    form = fit_force_form(model, TARGET, systems, reduced, smooth=False, against=True)
    matrix, labels, energy = rows_of(form, systems)
    noise = float(form.head.noise)
    size = np.sqrt(np.mean(labels[~energy] ** 2))
    # the ratio of the noises is one of few: the one that the normal equations hold for
    from sfm.train.force_forms import RATIOS

    solutions = [ridge(matrix, labels, energy, noise, noise / r, size) for r in RATIOS]
    errors = [np.abs(f - form.head.coefficients.numpy()).max() for f in solutions]
    which = int(np.argmin(errors))
    assert errors[which] < 1e-6 * np.abs(solutions[which]).max()
    # the first fold, refitted without it
    system = np.repeat(np.arange(len(systems)), [1 + len(s.slopes) for s in systems])
    out = system % FOLDS == 0
    rest = ridge(matrix[~out], labels[~out], energy[~out], noise, noise / RATIOS[which], size)
    by_hand = matrix[out] @ rest - labels[out]
    said = form.energies[torch.arange(len(systems)) % FOLDS == 0].numpy()
    np.testing.assert_allclose(said, by_hand[energy[out]], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("against", [True, False])
def test_forces_are_minus_the_gradient_of_the_energy(problem, against):
    """Of the installed head: by autograd, against finite differences and the rows of the fit."""
    model, _, train, systems, reduced = problem
    form = fit_force_form(model, TARGET, systems, reduced, smooth=True, against=against)
    fitted = install_forces(model, form, [TARGET, Target(PART, LEVEL, "forces")])
    sample = train[0]
    tokens = fitted.tokenize(PART, [sample], LEVEL)
    said = fitted({PART: tokens}, {PART: ["energy", "forces"]})[PART]
    step = 1e-4
    for atom, axis in ((0, 0), (1, 2)):
        energies = []
        for sign in (1, -1):
            moved = tokens.positions.clone()
            moved[atom, axis] += sign * step
            with torch.no_grad():
                there = fitted({PART: tokens.replace(positions=moved)}, {PART: ["energy"]})
            energies.append(float(there[PART]["energy"][0]))
        slope = (energies[0] - energies[1]) / (2 * step)
        assert float(said["forces"][atom, axis]) == pytest.approx(-slope, abs=2e-5)
    # forward differences of features, as the fit saw them: all components of this small system
    rows = form.head.slopes(systems[0].invariants, systems[0].types, systems[0].moved)
    linear = rows @ form.head.coefficients
    forces = torch.tensor(np.array(sample.labels["forces"])).reshape(-1)
    labels = forces + systems[0].slopes if against else torch.zeros_like(linear)
    torch.testing.assert_close(
        said["forces"].detach().reshape(-1), labels - linear, atol=2e-4, rtol=0
    )


def test_slopes_of_strain_are_the_virial_of_the_model(problem):
    """Rows of a stress: volume times what `sfm.nn.derive` makes of the same energy."""
    model, _, train, _, reduced = problem
    cell = 12.0 * np.eye(3)
    zero = {"energy": np.zeros(()), "forces": np.zeros_like(train[0].positions)}
    box = train[0].replace(cell=cell, pbc=(True,) * 3, labels={**zero, "stress": np.zeros((3, 3))})
    (system,) = gather_rows(model, TARGET, [box], lambda h: (h - reduced[0]) @ reduced[1])
    tokens = model.tokenize(PART, [box], LEVEL)
    stress = model({PART: tokens}, {PART: ["stress"]})[PART]["stress"][0].detach()
    virial = torch.stack([stress[a, b] for a, b in STRAINS]) * 12.0**3
    torch.testing.assert_close(system.own_slopes[system.strained], virial, rtol=1e-9, atol=1e-9)
    # and the features move as the linear part of the energy does
    form = fit_force_form(model, TARGET, problem[3], reduced, smooth=True, against=False)
    head = install_forces(model, form, [TARGET, Target(PART, LEVEL, "stress")])
    said = head({PART: tokens}, {PART: ["stress"]})[PART]["stress"][0].detach() * 12.0**3
    rows = head.heads[form.spec.key].slopes(system.invariants, system.types, system.moved)
    linear = (rows @ form.head.coefficients)[system.strained]
    virial = torch.stack([said[a, b] for a, b in STRAINS])
    torch.testing.assert_close(linear, virial, rtol=1e-3, atol=2e-3)


def test_a_closed_form_of_forces_is_a_head_like_any_other(base, tmp_path):
    out = finetune(base, "spiders/held-webs", "energy", "gp", tmp_path / "gp", log=False)
    report = json.loads((out / "report.json").read_text())
    assert report["mode"] == "gp"
    names = {c["name"] for c in report["candidates"]}
    assert names == {"zero-shot", "ridge", "gp", "delta ridge", "delta gp"}
    rows = {row["quantity"]: row for row in report["target"]}
    forces, energy = rows["forces"], rows["energy"]
    assert forces["after_mae"] < 0.7 * forces["baseline_mae"]
    assert forces["after_mae"] < forces["before_mae"]
    assert energy["after_mae"] < 0.5 * energy["before_mae"]
    new = FoundationModel.from_pretrained(out)
    webs = [s for s, _ in zip(open_source("spiders/held-webs", whole=False).splits["test"],
                              range(3), strict=False)]  # fmt: skip
    said = new.predict(webs)
    assert all(p.uncertainty["energy"] > 0 for p in said)
    again = FoundationModel.from_pretrained(new.save_pretrained(tmp_path / "copy")).predict(webs)
    for one, other in zip(said, again, strict=True):
        np.testing.assert_array_equal(one["forces"], other["forces"])
        sigma = one.uncertainty["forces"]
        assert sigma.shape == (len(one.sample.types),)
        assert (sigma == sigma[0]).all()  # one width for all: that of left-out labels
        assert 0.3 * forces["after_mae"] < sigma[0] < 3 * forces["after_mae"]
        np.testing.assert_array_equal(sigma, other.uncertainty["forces"])


def test_auto_lets_closed_forms_and_training_compete(base, tmp_path, monkeypatch):
    recipe = FinetuneRecipe(budget=0)
    out = finetune(
        base, "spiders/held-webs", "energy", None, tmp_path / "a", recipe=recipe, log=False
    )
    report = json.loads((out / "report.json").read_text())
    met = {c["name"]: c for c in report["candidates"] if c["how"].startswith("loss")}
    (chosen,) = [c for c in met.values() if c["chosen"]]
    assert chosen["mae"] == min(c["mae"] for c in met.values())
    assert "zero-shot" in met
    assert "full was not tried" in report["note"]


def test_only_energies_with_forces_have_this_form(problem, base, toy):
    _, task, *_ = problem
    assert force_targets(task) == [TARGET]
    model = FoundationModel.from_pretrained(base)
    only = make_task(model, open_source("spiders/held-webs", whole=False), ["energy"],
                     FinetuneRecipe())  # fmt: skip
    assert force_targets(only) == []
