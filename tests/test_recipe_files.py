"""Recipes: one-line errors, overrides, no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sfm.errors import PluginError, RecipeError
from sfm.formats import yaml12
from sfm.recipe import FinetuneRecipe, load, parse, validate

MINIMAL = {"name": "a", "tasks": [{"dataset": "x/y", "quantities": {"energy": 1}}]}


def unchecked(*overrides: str):
    return parse(MINIMAL, overrides, check=False)


def test_importing_recipes_imports_no_torch():
    code = (
        "import sys, sfm.recipe; print(sorted({'torch', 'numpy', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scientific_notation_is_a_number():
    assert yaml12.read("a: 1e-3\nb: 2E5\nc: -.5e+2\nd: 7\ne: 1e\nf: -.5", "text") == {
        "a": 1e-3,
        "b": 2e5,
        "c": -50.0,
        "d": 7,
        "e": "1e",
        "f": -0.5,
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lrr=1", "optimizer.lrr: unknown key, did you mean 'lr'?"),
        ("tasks.0.wieght=1", "tasks.0.wieght: unknown key, did you mean 'weight'?"),
        ("training.steps=ten", "training.steps: input should be a valid integer"),
        ("training.steps=0", "training.steps: input should be greater than or equal to 1"),
        ("tasks.0.weight=-1", "tasks.0.weight: input should be greater than 0 (given: -1)"),
        ("tasks.4.weight=1", "'4' is not an index from 0 to 0"),
        ("training", "write it as key.sub=value"),
        ("model.size=huge", "model.size: input should be 'tiny' or 'small' (given: 'huge')"),
        ("tasks.0.quantities={forces: 1}", "'forces' is a derivative of the energy"),
        ("optimizer.lr=.nan", "optimizer.lr: "),
    ],
)
def test_errors_are_one_line_that_names_the_key(override, message):
    with pytest.raises(RecipeError) as caught:
        unchecked(override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_overrides_reach_lists_and_dictionaries():
    recipe = unchecked("tasks.0.weight=2", "tasks.0.quantities.energy=1e1", "optimizer.clip=null")
    assert recipe.tasks[0].weight == 2
    assert recipe.tasks[0].quantities["energy"].weight == 10
    assert recipe.optimizer.clip is None
    assert "weight" not in MINIMAL["tasks"][0]


def test_the_resolved_recipe_reads_back_equal(tmp_path):
    recipe = unchecked("training.steps=7")
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert load(path, check=False) == recipe


def test_broken_yaml_names_line_and_column(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("name: a\ntasks: [\n")
    with pytest.raises(RecipeError, match=r"broken.yaml: line 3, column 1: not YAML"):
        load(path)
    with pytest.raises(RecipeError, match="no such recipe"):
        load(tmp_path / "missing.yaml")


def test_unknown_parts_are_plugin_errors():
    with pytest.raises(PluginError, match=r"tasks\.0: no plugin 'x' is installed"):
        parse(MINIMAL)


def test_finetune_recipes_have_their_own_defaults():
    recipe = validate(FinetuneRecipe, {"weights": {"energy": 3}}, ["mode=lora", "lora.rank=2"])
    assert (recipe.mode, recipe.lora.rank, recipe.weights["energy"].weight) == ("lora", 2, 3.0)
    with pytest.raises(RecipeError, match=r"lora\.rnk: unknown key, did you mean 'rank'"):
        validate(FinetuneRecipe, {"lora": {"rnk": 1}})
