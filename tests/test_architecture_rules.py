"""The rules of `tools/rules.py` see every kind of violation, planted in small packages."""

from __future__ import annotations

import pytest
import rules
from arrows import Package

TABLE = """Small.

Rooms, lowest first:

    low             the ground
    middle, attic   what lies between
    beside          more
    high            the top
"""
# a package `sfm_small` without a fault; each case below changes one file
SOUND = {
    "__init__.py": f'"""{TABLE}"""\nfrom sfm_small.high import run\n',
    "low/__init__.py": "",
    "low/one.py": "import sfm\nfrom sfm.data.tokens import Tokens\n",
    "low/two.py": "from sfm_small.low.one import Tokens\n",
    "attic.py": "",
    "middle.py": "from sfm_small.low import one, two\n",
    "beside.py": "from sfm_small.middle import one\n",
    "high.py": "def run():\n    from sfm_small.low.two import Tokens\n    return Tokens\n",
}


def package(folder, name="sfm_small", **changes: str) -> Package:
    """Write `SOUND` with changes (`low_two` is low/two.py, `facade` the `__init__`) and read it."""
    root = folder / name
    texts = dict(SOUND)
    for key, text in changes.items():
        place = "__init__" if key == "facade" else key.replace("_", "/")
        texts[f"{place}.py"] = text
    for place, text in texts.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text.replace("sfm_small", name), encoding="utf-8")
    return Package.read(root)


def test_a_sound_package_breaks_no_rule(tmp_path):
    sound = package(tmp_path)
    assert rules.undeclared(sound) == []
    assert rules.upward(sound) == []
    assert rules.circular(sound) == rules.styled(sound) == rules.trespassing(sound) == []
    assert sound.rooms()["beside"] == {"middle"}
    assert sound.rooms()["high"] == {"low"}


UPWARD = {
    "absolute": "from sfm_small.high import run",
    "of a module": "import sfm_small.high",
    "renamed": "import sfm_small.high as above",
    "of a name of the package": "from sfm_small import high",
    "relative": "from ..high import run",
    "relative, of a module": "from .. import high",
    "local": "def late():\n    from sfm_small.high import run\n    return run",
    "local and relative": "class A:\n    def late(self):\n        from .. import high\n",
    "in a branch": "try:\n    import sfm_small.high\nexcept ImportError:\n    pass",
    "by name": "import importlib\nhigh = importlib.import_module('sfm_small.high')",
    "of the facade": "import sfm_small\nsfm_small.run()",
    "of the facade's name": "from sfm_small import run",
    "at run time only": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n"
    "    from sfm_small.high import run",
}


@pytest.mark.parametrize("text", UPWARD.values(), ids=UPWARD)
def test_an_import_of_a_room_above_is_seen(tmp_path, text):
    violations = rules.upward(package(tmp_path, low_two=text))
    assert violations
    assert all("two.py:" in line for line in violations)


TYPES_ONLY = {
    "name": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import sfm_small.high",
    "attribute": "import typing\nif typing.TYPE_CHECKING:\n    from ..high import run",
    "annotation": "from __future__ import annotations\nimport sfm_small.low.one as x\n"
    "def f(a: sfm_small.high.Run) -> None: ...",
}


@pytest.mark.parametrize("text", TYPES_ONLY.values(), ids=TYPES_ONLY)
def test_imports_for_type_checkers_are_free(tmp_path, text):
    small = package(tmp_path, low_two=text)
    assert rules.upward(small) == rules.circular(small) == []


def test_rooms_of_one_line_do_not_import_each_other(tmp_path):
    assert len(rules.upward(package(tmp_path, attic="import sfm_small.middle"))) == 1


def test_a_room_without_a_place_and_a_place_without_a_room_are_seen(tmp_path):
    small = package(tmp_path, cellar="", facade=f'"""{TABLE}    roof    none yet\n"""')
    assert rules.undeclared(small) == [
        "sfm_small has no room roof",
        "sfm_small.cellar has no place in the order",
    ]


@pytest.mark.parametrize("text", ["from sfm_small.low.two import x", "from . import two"])
def test_a_circle_of_files_is_seen(tmp_path, text):
    assert rules.circular(package(tmp_path, low_one=text)) == [
        "files import each other: sfm_small.low.one, sfm_small.low.two",
        "rooms import each other: sfm_small.low.one, sfm_small.low.two",
    ]


def test_a_circle_through_a_local_import_is_seen(tmp_path):
    text = "def late():\n    from .two import x\n    return x"
    assert len(rules.circular(package(tmp_path, low_one=text))) == 2


def test_a_circle_of_rooms_without_one_of_files_is_seen(tmp_path):
    small = package(
        tmp_path, low_three="from sfm_small.wide.one import x", wide_one="import sfm_small.low.two"
    )
    assert rules.circular(small) == ["rooms import each other: sfm_small.low, sfm_small.wide"]


def test_a_circle_of_rooms_inside_a_room_is_seen(tmp_path):
    small = package(
        tmp_path,
        low_a_one="import sfm_small.low.b.one",
        low_a_two="",
        low_b_one="",
        low_b_two="import sfm_small.low.a.two",
    )
    assert rules.circular(small) == ["rooms import each other: sfm_small.low.a, sfm_small.low.b"]


@pytest.mark.parametrize("text", ["from .one import x", "from . import one", "from .one import *"])
def test_another_style_of_import_is_seen(tmp_path, text):
    assert len(rules.styled(package(tmp_path, low_two=text))) == 1


def test_a_star_is_seen(tmp_path):
    assert len(rules.styled(package(tmp_path, low_two="from sfm_small.low.one import *"))) == 1


TRESPASSES = {
    "training": "from sfm.train.finetune import finetune",
    "hub": "def f():\n    from sfm.hub import resolve",
    "command line": "import sfm.cli",
    "command line, renamed": "import sfm.cli as c",
    "load": "import sfm\nmodel = sfm.load('sfm-tiny')",
    "load, renamed": "import sfm as s\ndef f():\n    return s.load('sfm-tiny')",
    "load, by name": "from sfm import load",
    "hub by attribute": "import sfm\nx = sfm.hub.files",
    "another plugin": "from sfm_other import plugin",
    "another plugin, local": "def f():\n    import sfm_other.data",
}


@pytest.mark.parametrize("text", TRESPASSES.values(), ids=TRESPASSES)
def test_a_plugin_that_reaches_too_far_is_seen(tmp_path, text):
    assert rules.trespassing(package(tmp_path, low_two=text))


@pytest.mark.parametrize("text", ["import sfm_other", "def f():\n    from sfm_other.data import x"])
def test_a_core_that_imports_a_plugin_is_seen(tmp_path, text):
    assert rules.trespassing(package(tmp_path, name="sfm", low_two=text))
    assert rules.trespassing(package(tmp_path / "more", name="sfm")) == []


VAGUE = {
    "variable": "found = 1",
    "annotated": "found: int = 1",
    "unpacked": "first, (own, *rest) = x",
    "loop": "for made in x:\n    pass",
    "comprehension": "y = [wanted for wanted in x]",
    "walrus": "if own := x:\n    pass",
    "context": "with x as made:\n    pass",
    "argument": "def f(*, wanted): ...",
    "collected arguments": "def f(**wanted): ...",
    "lambda": "f = lambda own: own",
    "attribute": "self.found = []",
    "field": "class A:\n    own: int",
    "method": "class A:\n    def own(self): ...",
    "import": "import numpy as found",
    "error": "try:\n    pass\nexcept ValueError as found:\n    pass",
    "pattern": "match x:\n    case [made, *own]:\n        pass",
}


@pytest.mark.parametrize("text", VAGUE.values(), ids=VAGUE)
def test_a_name_that_says_nothing_is_seen(tmp_path, text):
    path = tmp_path / "one.py"
    path.write_text(text, encoding="utf-8")
    assert rules.vague(path)


@pytest.mark.parametrize("text", ["founded = owner = 1", "x.own()", "f(wanted=1)", "# found"])
def test_other_names_are_free(tmp_path, text):
    path = tmp_path / "one.py"
    path.write_text(text, encoding="utf-8")
    assert rules.vague(path) == []
