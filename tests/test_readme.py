"""The README's snippets run as they stand, in their order, in processes of their own.

They run in an empty folder: nothing of the clone is needed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sfm.testing.snippets import run_snippet, snippets

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_readme(tmp_path: Path) -> None:
    from sfm.testing.hub_server import HubServer

    found = [(kind, code) for kind, code in snippets(ROOT / "README.md") if "make demo" not in code]
    assert len(found) >= 7
    with HubServer(user="your-name") as hub:
        for kind, code in found:
            run_snippet(kind, code, tmp_path, hub.environment(home=tmp_path / "hf"))
    assert {p.name for p in tmp_path.iterdir()} >= {"features.npz", "my-model", "md.png", "copy"}
