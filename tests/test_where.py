"""The map of the house, docs/where.md: every place that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "where.md").read_text(encoding="utf-8")
PLACES = sorted(set(re.findall(r"`((?:sfm|plugins|tools|tests|docs)/[\w./]+)`", TEXT)))


@pytest.mark.parametrize("place", PLACES)
def test_a_place_of_the_map_is_there(place):
    path = ROOT / place
    assert path.is_dir() if place.endswith("/") else path.is_file()


def test_it_answers_twenty_questions():
    assert len(re.findall(r"^\| .*\? \| `", TEXT, re.M)) >= 20


def test_every_room_of_the_core_is_on_it():
    rooms = {p.name for p in (ROOT / "sfm").iterdir() if (p / "__init__.py").is_file()}
    missing = sorted(r for r in rooms if f"`sfm/{r}/`" not in TEXT)
    assert not missing, f"docs/where.md leaves out {missing}"
