"""YAML 1.2 numbers, duplicate keys, limits: what a recipe says is what is read, or is refused."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfm.cli.values import parse_settings, parse_value
from sfm.errors import InputError, RecipeError
from sfm.formats import yaml12
from sfm.recipe import Recipe, load, parse

MINIMAL = {"name": "a", "tasks": [{"dataset": "x/y", "quantities": {"energy": 1}}]}
BOMB = "a0: &a0 [1, 1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0300", 300), ("-0300", -300), ("0o17", 15), ("0x1F", 31), ("1e-3", 1e-3), ("-.5", -0.5),
        ("5.", 5.0), ("1E2", 100.0), (".inf", math.inf), ("true", True), ("TRUE", True),
        ("yes", "yes"), ("no", "no"), ("On", "On"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("2026-99-01", "2026-99-01"), ("2026-11-29", "2026-11-29"), ("~", None), ("null", None),
        ("0b11", "0b11"), ("1e", "1e"), (".", "."), ("'0300'", "0300"),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(text, value):
    scalar = yaml12.read(text, "text")
    assert scalar == value
    assert type(scalar) is type(value)
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "with every alias written out"),
        ("a: &a [*a]", "an alias inside what it stands for"),
        ("[" * 50_000, "nested too deeply"),
        ("a: " + "1" * 5_000, "line 1, column 4: a number of 5000 digits, at most 1000"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is given twice"),
        ("a: {b: 1, b: 2}", "the key 'b' is given twice"),
        ("{[1, 2]: 3}", "unhashable"),
        ("a: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("a: !!timestamp 2026-99-01", "could not determine a constructor"),
        ("a: !!binary aGk=", "could not determine a constructor"),
        ("a: \x00", "special characters are not allowed"),
        ("a: 1\n--- \nb: 2", "another document"),
        ("x" * 2_000_000, "larger than"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_refused_is_one_line_and_quick(text, said):
    began = time.process_time()
    with pytest.raises(RecipeError) as caught:
        yaml12.read(text, "r.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("r.yaml:")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert time.process_time() - began < 5


def test_utf_16_and_other_encodings(tmp_path):
    text = "name: größe\ntasks: [{dataset: x/y, quantities: {energy: 1}}]\n"
    path = tmp_path / "r.yaml"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.replace("größe", "abc").encode(encoding))
        assert load(path, check=False).name == "abc"
    for content in (text.encode("latin-1"), text.encode("utf-16-le"), b"\xff\xfe\x00", b"\x80"):
        path.write_bytes(content)
        with pytest.raises(RecipeError):
            load(path, check=False)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.steps=true", "training.steps: input should be a valid integer (given: True)"),
        ("training.steps='300'", "training.steps: input should be a valid integer (given: '300')"),
        ("training.steps=1_000", "training.steps: input should be a valid integer"),
        ("training.steps=1.5", "training.steps: input should be a valid integer"),
        ("training.steps=" + "9" * 40, "training.steps: input should be less than or equal to"),
        ("training.steps=" + "9" * 5000, "line 1, column 1: a number of 5000 digits, at most 1000"),
        ("optimizer.lr=true", "optimizer.lr: input should be a valid number (given: True)"),
        ("optimizer.lr='1'", "optimizer.lr: input should be a valid number (given: '1')"),
        ("tasks.0.quantities.energy=true", "input should be a valid number (given: True)"),
        ("tasks.0.levels=[1]", "tasks.0.levels.0: input should be a valid string (given: 1)"),
        ("name=2026", "name: input should be a valid string (given: 2026)"),
        ("training.steps={a: 1, a: 2}", "the key 'a' is given twice"),
        (".".join(["a"] * 5000) + "=1", "a: unknown key"),
    ],
)
def test_strict_types(override, said):
    with pytest.raises(RecipeError) as caught:
        parse(MINIMAL, [override], check=False)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_are_what_they_look_like():
    recipe = parse(
        MINIMAL, ["training.steps=0300", "training.seed=2e3", "tasks.0.levels=[PBE]"], check=False
    )
    assert recipe.training.steps == 300
    assert recipe.training.seed == 2000
    assert recipe.tasks[0].levels == ("PBE",)
    assert parse(recipe.to_dict(), check=False) == recipe
    with pytest.raises(InputError, match="twice"):
        parse_settings(["a={x: 1, x: 2}"])
    assert parse_value("[2H]O") == "[2H]O"


@pytest.mark.parametrize("recipe", ["name: a\nname: b\n", "a: &a [*a]", "\x00", "[" * 9000])
def test_the_command_line_says_one_line(tmp_path, recipe):
    path = tmp_path / "r.yaml"
    path.write_text(recipe)
    done = subprocess.run(
        [sys.executable, "-m", "sfm", "pretrain", str(path), "--print-config"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "unexpected" not in done.stderr


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=4))
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back(value):
    assert yaml12.read(yaml12.write(value), "text") == value


@given(st.sampled_from(["0o17", "1e3", "0300", "yes", "null", "~", "1:30", "=", "<<", "-", ""]))
def test_text_that_looks_like_something_else_stays_text(text):
    assert yaml12.read(yaml12.write({text: text}), "text") == {text: text}


@given(st.integers(0, 10**40), st.integers(0, 5))
def test_decimal_numbers_are_decimal(number, zeros):
    assert yaml12.read("0" * zeros + str(number), "text") == number


@given(st.text(alphabet=" \n-:[]{}&*!|>'\"%@`#,?ab10.~\t\x00\ufeff", max_size=40) | st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_values_or_one_line(text):
    try:
        yaml12.read(text, "text")
    except RecipeError as error:
        assert "\n" not in str(error)  # noqa: PT017


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_values_or_one_line(content):
    try:
        yaml12.read(content, "text")
    except RecipeError as error:
        assert "\n" not in str(error)  # noqa: PT017


RECIPES = st.builds(
    lambda steps, lr, seed, levels, weight, summary: {
        "name": "a",
        "summary": summary,
        "tasks": [
            {"dataset": "x/y", "quantities": {"energy": weight}, "levels": levels, "weight": 0.5}
        ],
        "optimizer": {"lr": lr},
        "training": {"steps": steps, "seed": seed},
    },
    st.integers(1, 2**53),
    st.floats(1e-12, 1e3),
    st.integers(0, 2**53),
    st.none() | st.lists(st.text(max_size=10), max_size=3),
    st.floats(0, 1e6),
    st.text(max_size=30),
)


@given(RECIPES)
@settings(deadline=None)
def test_a_recipe_survives_its_file(values):
    recipe = parse(values, check=False)
    assert parse(yaml12.read(recipe.to_yaml(), "text"), check=False) == recipe
    assert recipe.training.steps == values["training"]["steps"]


KEYS = st.sampled_from([*Recipe.model_fields, "steps", "lr", "dataset", "quantities", "size"])


@given(st.dictionaries(KEYS, PLAIN, max_size=6), st.lists(st.text(max_size=20), max_size=2))
@settings(max_examples=300, deadline=None)
def test_any_values_are_a_recipe_or_one_line(values, overrides):
    try:
        parse(values, overrides, check=False)
    except RecipeError as error:
        assert "\n" not in str(error)  # noqa: PT017
