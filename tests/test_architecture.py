"""The rules of the house (`tools/rules.py`): rooms in order, no circles, one style of imports.

Every package states the order of its rooms in the docstring of its `__init__`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import rules
from arrows import Package, packages

ROOT = Path(__file__).parent.parent
FOLDERS = {folder.name: folder for folder in packages(ROOT)}
CORE = sorted(FOLDERS["sfm"].rglob("*.py"))
RULES = (rules.undeclared, rules.upward, rules.circular, rules.styled, rules.trespassing)


@pytest.fixture(scope="module")
def read():
    """A package by name, read once."""
    known: dict[str, Package] = {}

    def package(name: str) -> Package:
        if name not in known:
            known[name] = Package.read(FOLDERS[name])
        return known[name]

    return package


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("name", FOLDERS)
def test_a_package_keeps_the_rules_of_the_house(name, rule, read):
    """Rooms in their order, no circle, one style; a plugin reaches nothing above the model."""
    assert rule(read(name)) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_plugin_new_writes_keeps_them_too(rule, toy_site):
    assert rule(Package.read(toy_site / "sfm_toy")) == []


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_global_is_set_and_no_pickle_is_read(path):
    text = path.read_text(encoding="utf-8")
    for word in ("set_default_dtype", "use_deterministic_algorithms", "pickle.load"):
        assert word not in text, word
    if path.parent.name != "train":
        assert "torch.load" not in text


def test_files_are_small_and_no_module_is_called_utils():
    for path in (p for folder in FOLDERS.values() for p in folder.rglob("*.py")):
        assert path.stem not in ("utils", "helpers", "misc", "common"), path
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 600, f"{path}: {lines} lines"


def test_names_say_what_they_hold():
    paths = list(rules.named(ROOT))
    assert len(paths) > 600
    assert [line for path in paths for line in rules.vague(path)] == []
