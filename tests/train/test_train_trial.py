"""Training on trial: what is held out, and what few labels cannot decide."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch

from sfm.config import Target
from sfm.model import FoundationModel
from sfm.nn.kernel import FEATURES
from sfm.recipe import FinetuneRecipe
from sfm.train.afford import FEWEST_STEPS, affordable
from sfm.train.closed_form import LARGEST, labelled, labelled_rows
from sfm.train.evaluate import evaluate
from sfm.train.finetune_task import make_task
from sfm.train.pretrain import pretrain
from sfm.train.relatives import folds_of_relatives
from sfm.train.selection import best_of, fit_all
from sfm.train.sources import open_source
from sfm.train.trial import FOLDS, KNOWN, NEW, held_out, trial, wins

PART = "spiders/points"


def families(count: int, members: int, seed: int) -> tuple[torch.Tensor, np.ndarray]:
    """Features (count * members, 6) of families that lie far apart, and the family of each row."""
    g = np.random.default_rng(seed)
    centres = g.normal(size=(count, 6))
    rows = np.repeat(centres, members, 0) + 0.02 * g.normal(size=(count * members, 6))
    order = g.permutation(len(rows))
    return torch.from_numpy(rows[order]), np.repeat(np.arange(count), members)[order]


def test_relatives_stay_in_one_fold():
    rows, family = families(50, 2, seed=0)
    fold = folds_of_relatives(rows, 3)
    assert all(len(set(fold[family == f])) == 1 for f in range(50))
    assert np.ptp(np.bincount(fold, minlength=3)) <= 2
    assert np.array_equal(fold, folds_of_relatives(1000 * rows + 7, 3))  # no unit matters


def test_systems_without_features_to_tell_them_apart_have_folds_too():
    assert sorted(folds_of_relatives(torch.ones(7, 2), 3)) == [0, 0, 0, 1, 1, 2, 2]
    assert set(folds_of_relatives(torch.arange(9.0)[:, None].double(), 3)) == {0, 1, 2}


def test_relatives_held_out_together_tell_what_new_families_will():
    """Labels by family, and a slope: memory does as well on relatives, and not elsewhere."""
    told: dict[str, list[float]] = {"at random": [], "relatives together": [], "new families": []}
    for seed in range(10):
        rows, family = families(100, 2, seed)
        y = rows[:, 0].numpy() + 0.3 * np.random.default_rng(seed).normal(size=100)[family]
        known = family < 50
        x, labels = rows[torch.from_numpy(known)], y[known]
        for name, fold in {
            "at random": np.random.default_rng(seed).permutation(100) % 3,
            "relatives together": folds_of_relatives(x, 3),
        }.items():
            held = fold == 0
            told[name].append(_memory_over_slope(x[~held], labels[~held], x[held], labels[held]))
        new = rows[torch.from_numpy(~known)]
        told["new families"].append(_memory_over_slope(x, labels, new, y[~known]))
    ratio = {name: float(np.mean(values)) for name, values in told.items()}
    assert ratio["at random"] < 1.4
    assert ratio["new families"] > 2
    assert ratio["relatives together"] > 2


def _memory_over_slope(
    x: torch.Tensor, y: np.ndarray, new: torch.Tensor, truth: np.ndarray
) -> float:
    """Error of the nearest neighbour's label over that of a linear fit."""
    memory = y[torch.cdist(new, x).argmin(1)]
    slope = new @ torch.linalg.lstsq(x, torch.from_numpy(y)[:, None]).solution
    off = np.abs(slope[:, 0].numpy() - truth)
    return float(np.abs(memory - truth).mean() / off.mean())


def test_a_new_quantity_has_to_win_by_more_than_chance_and_a_known_one_not_to_lose_so():
    """Thirty-three pairs of errors: one in six is above a standard error, 1 in 740 above 3."""
    g = np.random.default_rng(0)
    closed, full = (np.abs(g.normal(size=(2000, 33))) for _ in range(2))

    def won(differences: np.ndarray, margin: float) -> float:
        return float(np.mean([wins(row, margin) for row in differences]))

    plain = np.mean(full.mean(1) < 0.97 * closed.mean(1))  # the rule that was: three per cent
    assert 0.12 < won(full - closed, NEW) < 0.20 < 0.40 < plain < 0.55
    assert won(full - closed, KNOWN) > 0.99
    assert won(0.5 * full - closed, NEW) > 0.98
    assert won(full - 0.25 * closed, KNOWN) < 0.02
    # errors of both ways go together on hard systems: the pairs tell more than the averages
    assert won((0.8 + 0.2 * g.random((2000, 33))) * closed - closed, NEW) > 0.99


@pytest.mark.parametrize("differences", [[], [-1.0], [0.0, 0.0, 0.0]])
def test_nothing_is_won_without_evidence(differences):
    assert not wins(np.array(differences), KNOWN)


@pytest.fixture(scope="module")
def base(make_recipe, tmp_path_factory):
    return pretrain(make_recipe(steps=40), tmp_path_factory.mktemp("base") / "model", log=False)


def fitted(model, recipe):
    """The task, the model with its levels, and its closed forms."""
    task = make_task(model, open_source("spiders/held-webs", whole=False), "extent", recipe)
    target = Target(PART, task.levels[0], "extent")
    grown, fits = fit_all(model, task, [target])
    return task, grown, fits[target]


def test_a_trial_compares_both_ways_on_the_same_systems(base):
    model = FoundationModel.from_pretrained(base)
    recipe = FinetuneRecipe()
    recipe = recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"steps": 5, "seed": 1})}
    )
    task, grown, fits = fitted(model, recipe)
    chosen = best_of(fits, "auto", grown)
    (row,), note, winner = trial(model, grown, task, [chosen], recipe)
    assert not note
    assert row.how.startswith(f"held-out third, where {chosen.form.name} has")
    held = held_out(task, [chosen], 1)
    fold = folds_of_relatives(chosen.inputs.raw[FEATURES], FOLDS)
    assert held == np.flatnonzero(fold == 1).tolist()
    if winner is not None:
        assert [s.id for s in winner.part.validation] == [task.train[i].id for i in held]
        error = evaluate(winner.model, winner.part, split="validation").of("extent").mae
        assert row.mae == pytest.approx(error)


def test_a_simple_rival_is_taken_only_where_the_difference_is_no_accident(base):
    _, grown, fits = fitted(FoundationModel.from_pretrained(base), FinetuneRecipe())
    gp = next(f for f in fits if f.form.name == "gp")
    rival = next(f for f in fits if f.form.name == "composition")
    labels = gp.inputs.labels
    noise = torch.randn(len(labels), generator=torch.Generator().manual_seed(0)).double()

    def judged(form, size):
        said = labels + size
        return dataclasses.replace(form, left_out=said, mae=float((said - labels).abs().mean()))

    one = judged(gp, noise)
    assert best_of([one, judged(rival, 0.99 * noise.flip(0))], "auto", grown) is one
    better = judged(rival, 0.5 * noise)
    assert best_of([one, better], "auto", grown) is better
    assert best_of([one, better], "gp", grown) is one


def test_steps_depend_on_work_and_budget_and_not_on_the_clock(base, monkeypatch):
    model = FoundationModel.from_pretrained(base)
    task = make_task(model, open_source("spiders/held-webs", whole=False), "extent", recipe := (
        FinetuneRecipe(budget=2.0)
    ))  # fmt: skip

    def steps(budget: float, runs: int = 1) -> int:
        plan = affordable(model, task, recipe.model_copy(update={"budget": budget}), runs)
        return 0 if plan is None else plan.training.steps

    plain = steps(2.0)
    monkeypatch.setattr(time, "process_time", lambda: 1e6)
    assert steps(2.0) == plain > FEWEST_STEPS
    assert steps(2.0, runs=2) == steps(1.0) == pytest.approx(plain / 2, abs=1)
    assert steps(0.1) == 0
    assert steps(1e6) == recipe.training.steps


def test_rows_of_labelled_systems_are_their_positions(base):
    model = FoundationModel.from_pretrained(base)
    source = open_source("spiders/held-webs", whole=False)
    task = make_task(model, source, "extent", FinetuneRecipe())
    some = [s.replace(labels={}) if i % 3 else s for i, s in enumerate(task.train)]
    task = dataclasses.replace(task, train=some)
    target = Target(PART, task.levels[0], "extent")
    rows = labelled_rows(task, target)
    assert rows.tolist() == list(range(0, len(some), 3))
    assert [s.id for s in labelled(task, target)] == [some[i].id for i in rows]
    many = dataclasses.replace(task, train=[some[0]] * (LARGEST + 10))
    drawn = labelled_rows(many, target)
    assert len(drawn) == len(set(drawn.tolist())) == LARGEST
