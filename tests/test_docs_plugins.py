"""What `docs/plugins.md` shows of differentiation and training runs, and holds what it asserts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfm.testing.snippets import run_snippet, snippets

PAGE = Path(__file__).resolve().parents[1] / "docs" / "plugins.md"
CODE = [
    code
    for kind, code in snippets(PAGE)
    if kind == "python" and ("sfm.simulate" in code or "sfm.nn.descent" in code)
]


@pytest.mark.slow
@pytest.mark.parametrize("code", CODE, ids=["fixed point", "rollout", "descent"])
def test_an_example_runs(code: str, tmp_path: Path) -> None:
    run_snippet("python", code, tmp_path)
