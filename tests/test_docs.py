"""The documentation: the site is made without a warning, its search index holds every kind of page;
every picture stands in the gallery with its command; tutorials are notebooks, too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import notebooks
import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_every_picture_has_its_command_in_the_gallery():
    text = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\]\(images/([^)]+)\)", text))
    assert shown == {path.name for path in (ROOT / "docs" / "images").glob("*.png")}
    for block in re.split(r"^```text\n.*?^```$|^The code of .*$", text, flags=re.M | re.S)[:-1]:
        assert "](images/" in block  # a command follows pictures, and no picture is left
    assert "](images/" not in re.split(r"^```$|^The code of .*$", text, flags=re.M)[-1]


def test_a_page_that_shows_a_picture_says_what_makes_it():
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("datasets/*/README.md")]
    commands = ("make demo", "python tools/", "python recipes/", "sfm simulate ")
    shown = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if "![" in text:
            shown += 1
            by_its_code = page.parent.name == "tutorials"  # which the page prints and the tests run
            assert by_its_code or any(command in text for command in commands), page
    assert shown > 12


def test_a_tutorial_is_a_notebook_with_its_pictures():
    page = ROOT / "docs" / "tutorials" / "simulate.md"
    body = json.loads(notebooks.notebook(page.read_text(encoding="utf-8"), page.parent))
    kinds = [cell["cell_type"] for cell in body["cells"]]
    assert kinds.count("code") == 3
    assert body["nbformat"] == 4
    code = ["".join(cell["source"]) for cell in body["cells"] if cell["cell_type"] == "code"]
    assert code[0].startswith("%%bash\nsfm simulate")
    assert any("attachments" in cell for cell in body["cells"])
    page = ROOT / "docs" / "tutorials" / "pendulum.md"
    body = json.loads(notebooks.notebook(page.read_text(encoding="utf-8"), page.parent))
    films = [cell["attachments"] for cell in body["cells"] if "attachments" in cell]
    assert list(films[0]["tutorial-pendulum.gif"]) == ["image/gif"]


@pytest.mark.slow
def test_the_site_is_made_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="the extra 'docs' is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    index = (tmp_path / "site" / "search" / "search_index.js").read_text(encoding="utf-8")
    for page in (
        "reference/simulators/fluids/burgers.html",
        "reference/commands/predict.html",
        "reference/python/sfm/nn.html#sfm.nn.trunk",
        "datasets/molecules-xtb/index.html",
        "reference/recipes/sfm-tiny.html",
        "tutorials/fit.html",
        "theory/dft/kohn-sham.html",
    ):
        assert page in index, page
    assert (tmp_path / "site" / "tutorials" / "fit.ipynb").is_file()
