"""Ways of training that compete: all weights, and of a large model low-rank updates beside them."""

from __future__ import annotations

import json

import pytest

from sfm.config import Target
from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe, parse
from sfm.train.afford import FEWEST_STEPS, LARGE, contenders
from sfm.train.finetune import finetune
from sfm.train.finetune_task import make_task
from sfm.train.pretrain import pretrain
from sfm.train.selection import best_of, fit_all
from sfm.train.sources import open_source
from sfm.train.trained import mode_of, train, without_split
from sfm.train.trial import Winner, held_out, trial

PART = "spiders/points"
WIDE = {"channels": 64, "layers": 1, "experts": 32, "radial": 4, "carried": 4}


@pytest.fixture(scope="module")
def small(make_recipe, tmp_path_factory):
    return pretrain(make_recipe(steps=3), tmp_path_factory.mktemp("base") / "small", log=False)


@pytest.fixture(scope="module")
def large(make_recipe, tmp_path_factory):
    body = make_recipe(steps=3).to_dict()
    recipe = parse({**body, "model": {**body["model"], **WIDE}})
    return pretrain(recipe, tmp_path_factory.mktemp("base") / "large", log=False)


def brief(**options: object) -> FinetuneRecipe:
    """Five steps, however much the budget has."""
    recipe = FinetuneRecipe(**options)
    return recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"steps": 5, "accelerator": "cpu"})}
    )


def task_of(model, quantity, recipe):
    return make_task(model, open_source("spiders/held-webs", whole=False), quantity, recipe)


def test_low_rank_updates_compete_above_a_size_and_share_the_budget(small, large):
    recipe = brief(budget=1e4)
    for folder, modes in ((small, ["full"]), (large, ["full", "lora"])):
        model = FoundationModel.from_pretrained(folder)
        assert (sum(p.numel() for p in model.parameters()) > LARGE) == (len(modes) == 2)
        task = task_of(model, "extent", recipe)
        plans, note = contenders(model, task, recipe, final=1)
        assert ([plan.mode for plan in plans], note) == (modes, "")
    whole = FinetuneRecipe()  # the budget has room for no run, for two, or for three
    notes = {}
    for power in range(30):
        trimmed = whole.model_copy(update={"budget": 1.25**power})
        plans, note = contenders(model, task, trimmed, final=1)
        notes[len(plans)] = note
        assert all(plan.training.steps >= FEWEST_STEPS for plan in plans)
        if len(plans) == 2:
            break
    assert notes[2] == ""
    assert notes[1].startswith("lora was not tried: fewer than 40 steps fit into the budget of")
    assert notes[0].startswith("full and lora were not tried: fewer than 40 steps")


def fitted(large):
    """The large model, five steps for it, its task, and the task's closed forms."""
    model = FoundationModel.from_pretrained(large)
    recipe = brief(budget=1e4)
    task = task_of(model, "extent", recipe)
    target = Target(PART, task.levels[0], "extent")
    grown, fits = fit_all(model, task, [target])
    return model, recipe, task, grown, fits[target]


def test_the_better_of_two_that_beat_the_closed_form_is_taken(large, monkeypatch):
    model, recipe, task, grown, fits = fitted(large)
    # a closed form that is wrong by far, so that both win
    monkeypatch.setattr("sfm.train.trial.answers", lambda *a: (a[-1].labels + 100, a[-1].labels))
    rows, note, winner = trial(model, grown, task, fits[:1], recipe)
    assert [row.name for row in rows] == ["full", "lora"]
    assert not note
    assert winner is not None
    assert winner.plan.mode == min(rows, key=lambda row: row.mae).name


def test_low_rank_updates_that_won_are_trained_on_all_labels(large, tmp_path):
    model, recipe, task, grown, fits = fitted(large)
    part = without_split(task, held_out(task, [best_of(fits, "auto", grown)], 0))
    (_, plan), _ = contenders(model, task, recipe, final=1)
    options = {"resolved": {}, "log": False}
    tried = train(model, part, plan, run=tmp_path / "trial", **options).model
    outcome = Winner(plan, tried, part).on_all(model, task, run=tmp_path / "run", **options)
    assert outcome.mode == "lora"
    assert outcome.updates
    assert outcome.counts["trainable"] < 0.2 * outcome.counts["all"]
    assert mode_of(tmp_path / "run") == "lora"  # how `--resume` goes on
    assert mode_of(tmp_path / "nowhere") == "full"


def test_forces_of_a_large_model_meet_both(large, tmp_path):
    out = finetune(
        large, "spiders/held-webs", "energy", None, tmp_path / "a", recipe=brief(budget=1e4),
        log=False,
    )  # fmt: skip
    report = json.loads((out / "report.json").read_text())
    met = {c["name"]: c for c in report["candidates"] if c["how"].startswith("loss")}
    assert {"zero-shot", "full", "lora"} < set(met)
    (chosen,) = [c for c in met.values() if c["chosen"]]
    assert chosen["mae"] == min(c["mae"] for c in met.values())
    assert mode_of(out / "run") == "full"
    assert (out / "adapter").is_dir() == (chosen["name"] == "lora")
