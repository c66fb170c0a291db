"""What the training data cover is recorded by pretraining and by fine-tuning."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sfm.config.coverage import coverage_of
from sfm.data.storage import open_dataset
from sfm.errors import InputWarning, OutsideError
from sfm.hub.cards import model_card, report_of
from sfm.model import FoundationModel
from sfm.recipe import FinetuneRecipe
from sfm.train.build import fit_normalisers, model_config, new_model
from sfm.train.cover import cover
from sfm.train.evaluate import evaluate
from sfm.train.finetune_task import make_task
from sfm.train.sources import open_source
from sfm.train.tasks import open_tasks
from sfm.train.transfer import grow

CONTEXT = "spiders/points", "pair"


@pytest.fixture(scope="module")
def covered(make_recipe) -> FoundationModel:
    recipe = make_recipe()
    tasks = open_tasks(recipe)
    model = new_model(model_config(tasks, recipe.model, "toy"), 0)
    cover(model, tasks)
    fit_normalisers(model, tasks)
    return model.eval()


def shortest(samples) -> dict[str, float]:
    """The naive twin: loops over all pairs."""
    symbols, distances = {1: "H", 6: "C", 8: "O"}, {}
    for s in samples:
        for i in range(len(s.types)):
            for j in range(i):
                a, b = sorted((int(s.types[i]), int(s.types[j])))
                r = float(np.linalg.norm(s.positions[i] - s.positions[j]))
                key = f"{symbols[a]}-{symbols[b]}"
                if r < 4.0:
                    distances[key] = min(distances.get(key, np.inf), r)
    return distances


def test_a_new_model_knows_what_its_tasks_cover(covered, toy):
    assert {c.context for c in covered.config.coverage} == {CONTEXT, ("birds/points", "pair")}
    coverage = coverage_of(covered.config.coverage, *CONTEXT)
    train = open_dataset(toy / "webs", split="train")
    assert coverage.systems == len(train)
    assert coverage.elements == ("H", "C", "O")
    assert covered.config.repulsion == "zbl"
    assert coverage.closest
    for pair, distance in shortest(train).items():
        if pair in coverage.closest:  # else it is met rarely, and further away than the rule says
            assert coverage.closest[pair] == pytest.approx(distance, abs=1e-3)


def test_it_survives_saving_and_stands_on_the_card(covered, tmp_path):
    covered.save_pretrained(tmp_path)
    again = FoundationModel.from_pretrained(tmp_path)
    assert again.config.coverage == covered.config.coverage
    assert again.config.repulsion == "zbl"
    card = model_card(report_of(tmp_path))
    assert "## What it covers" in card
    assert "H, C, O" in card


def test_fine_tuning_adds_to_a_known_level_and_opens_a_new_one(covered, toy):
    samples = [s for s, _ in zip(open_dataset(toy / "held-webs"), range(30), strict=False)]
    iron = [s.replace(types=np.where(s.types == 8, 26, s.types)) for s in samples]
    for level, elements in (("pair", ("H", "C", "O", "Fe")), ("other", ("H", "C", "Fe"))):
        relabelled = [s.replace(level=level, labels={"energy": s.labels["energy"]}) for s in iron]
        task = make_task(covered, open_source(relabelled, whole=False), "energy", FinetuneRecipe())
        grown, _ = grow(covered, task, 0)
        assert coverage_of(grown.config.coverage, CONTEXT[0], level).elements == elements
        old = coverage_of(grown.config.coverage, "birds/points", "pair")
        assert old == coverage_of(covered.config.coverage, "birds/points", "pair")


def test_nothing_is_claimed_for_a_level_that_recorded_nothing(covered, toy):
    bare = new_model(dataclasses.replace(covered.config, coverage=(), repulsion=None), 0)
    samples = [s for s, _ in zip(open_dataset(toy / "held-webs"), range(30), strict=False)]
    task = make_task(bare, open_source(samples, whole=False), "energy", FinetuneRecipe())
    grown, _ = grow(bare, task, 0)
    assert coverage_of(grown.config.coverage, *CONTEXT) is None


def test_evaluation_says_how_many_systems_lie_outside(covered, toy):
    samples = [s for s, _ in zip(open_dataset(toy / "webs", split="test"), range(9), strict=False)]
    strange = samples[0].replace(types=np.full(len(samples[0].types), 92))
    with pytest.warns(InputWarning, match=r"1 of \d systems lie outside .* element U"):
        evaluate(covered, [strange, *samples[1:]], quantities=["energy"])
    with pytest.raises(OutsideError, match="element U"):
        covered.predict(strange)
