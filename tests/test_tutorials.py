"""The tutorials' code runs as it stands, in the order in which it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import notebooks
import pytest

from sfm.testing.snippets import missing, run_snippet, snippets

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted((DOCS / "tutorials").glob("*.md"))
ENGINES = {"openmm", "openmmml"}  # extras whose pages run where they are installed


def test_pages_are_listed_and_their_pictures_are_there_and_small():
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    assert len(PAGES) >= 7
    for page in PAGES:
        assert f"tutorials/{page.name}" in index
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            picture = (page.parent / target).resolve()
            assert picture.exists(), f"{page.name}: {target}"
            if picture.suffix == ".png":
                assert picture.stat().st_size < 100_000, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_was_run_as_it_stands(page: Path) -> None:
    prints = notebooks.printed(page)
    assert None not in prints, f"run it again: python tools/notebooks.py --run {page}"
    body = json.loads(notebooks.notebook(page.read_text(encoding="utf-8"), page.parent, prints))
    code = [cell for cell in body["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    shown = ["".join(o["text"]).rstrip("\n") for cell in code for o in cell["outputs"]]
    assert shown == [text for text in prints if text]
    assert shown, "a tutorial prints what it finds"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path) -> None:
    """Each page holds at least one block, and asserts what it claims; an engine may be absent."""
    blocks = snippets(page)
    assert blocks
    needs = {name for kind, code in blocks if kind == "python" and (name := missing(code))}
    if needs:
        assert needs <= ENGINES, needs
        pytest.skip(f"not installed: {', '.join(sorted(needs))}")
    for kind, code in blocks:
        run_snippet(kind, code, tmp_path)
