"""The page of published and exact numbers says what is stored, and what is stored holds."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "recipes")
    import known_numbers

    return known_numbers


@pytest.fixture
def rows():
    return json.loads((BENCHMARKS / "results_numbers.json").read_text())


def test_the_page_is_that_of_the_stored_rows(recipe, rows):
    six = json.loads((BENCHMARKS / "results_six_systems.json").read_text())
    assert recipe.PAGE.read_text() == recipe.page(rows, six)


def test_every_stored_answer_is_within_what_is_allowed(recipe, rows):
    """Each problem is there, and its classical answer is no worse than 3 %."""
    answers = [row for row in rows if row["problem"] in recipe.KNOWN]
    assert {row["problem"] for row in answers} == set(recipe.KNOWN)
    for row in answers:
        problem = recipe.KNOWN[row["problem"]]
        assert recipe.error(row["values"], problem.reference) <= problem.tolerance, row
        if problem.classical is not None:
            assert recipe.error(row["classical"], problem.reference) <= 0.03, row


def test_energies_are_kept_as_the_page_says(recipe, rows):
    """A hundred times better at the longest time; drift below 1 % of the plain network's."""
    of_mechanics = [row for row in rows if row["problem"] in recipe.systems()]
    assert {row["problem"] for row in of_mechanics} == set(recipe.systems())
    for row in of_mechanics:
        assert row["ratios"][-1] > 100, row["problem"]
        if row["problem"] == "double-pendulum":
            assert row["drift_ratio"] > 100


def test_each_problem_has_the_test_that_it_names(recipe):
    for name, problem in recipe.KNOWN.items():
        file, _, function = problem.test.partition("::")
        tree = ast.parse((ROOT / "plugins" / file).read_text())
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in names, name


@pytest.mark.parametrize("name", ["cosine", "cooks-membrane"])
def test_what_is_stored_is_what_the_recipe_measures(recipe, rows, name):
    stored = next(row for row in rows if row["problem"] == name)
    again = recipe.measured(name, 0)
    assert again["values"] == pytest.approx(stored["values"], rel=1e-9)
    assert again.get("classical", []) == pytest.approx(stored.get("classical", []), rel=1e-9)
