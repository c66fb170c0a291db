"""The snippets of the README and of the pages for newcomers run as they stand, in their order.

Each page runs in an empty folder: nothing of the clone is needed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sfm.testing.snippets import run_snippet, snippets

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("start/*.md")), *sorted(DOCS.glob("howto/*.md"))]
PAGES = [page for page in PAGES if snippets(page)]  # the others only tell
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)")
MADE = {
    "README": {"my-model", "md.png", "springs"},
    "chemist": {"energies.npz", "md.extxyz", "density.png"},
    "finetune": {"my-model", "predicted.extxyz"},
    "publish": {"copy"},
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    from sfm.testing.hub_server import HubServer

    blocks = [(kind, code) for kind, code in snippets(page) if "make demo" not in code]
    assert blocks
    with HubServer(user="your-name") as hub:
        for kind, code in blocks:
            run_snippet(kind, code, tmp_path, hub.environment(home=tmp_path / "hf"))
    assert {p.name for p in tmp_path.iterdir()} >= MADE.get(page.stem, set())


def test_the_readme_is_two_screens_and_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    for link in LINK.findall(text):
        assert (ROOT / link).exists(), link
