"""CITATION.cff is read by GitHub, Zenodo and reference managers: it is true of this tree."""

from __future__ import annotations

from pathlib import Path

import yaml

import sfm

ROOT = Path(__file__).resolve().parents[1]


def test_the_citation_file_is_of_this_version():
    stated = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert stated["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(stated)
    assert stated["version"] == sfm.__version__
    assert stated["license"] == "Apache-2.0"
