"""What a run leaves for people: JSON that a person and a program read alike."""

from __future__ import annotations

import json

import pytest

from sfm.train.report import write_json


def test_tables_have_a_row_a_line_and_nothing_is_lost(tmp_path):
    record = {
        "name": "Ångström",
        "recipe": {"tasks": [{"weight": 0.1}, {"weight": 1e-7}], "start": None},
        "seeds": [0, 1],
        "losses": [{"step": 10, "loss": 2.707}, {"step": 20, "loss": None}],
        "metrics": [],
        "empty": {},
    }
    write_json(tmp_path / "training.json", record)
    text = (tmp_path / "training.json").read_text("utf-8")
    assert json.loads(text) == record
    assert list(json.loads(text)) == list(record)
    assert '\n    {"step":10,"loss":2.707},\n    {"step":20,"loss":null}\n  ],' in text
    assert '\n  "recipe": {\n    "tasks": [' in text
    assert "Ångström" in text


def test_what_json_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "one.json", {"losses": [{"loss": float("nan")}]})
    assert not list(tmp_path.iterdir())
