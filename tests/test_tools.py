"""The tools of a contributor: one version of each, figures of the house, lists that only shrink."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import copies
import house
import pytest
import versions
import yaml

ROOT = Path(__file__).parent.parent


def test_pre_commit_has_the_versions_of_the_constraints():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    revisions = {repo["repo"].rpartition("/")[2]: repo.get("rev") for repo in config["repos"]}
    pinned = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned
    assert revisions == {"ruff-pre-commit": f"v{pinned[1]}", "local": None}


@pytest.mark.parametrize(("lines", "count"), [(6, 1), (5, 0)])
def test_a_repeated_block_is_counted_once(tmp_path, lines, count):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    body = "".join(f"    y{i} = x * {i}\n" for i in range(lines))
    one.write_text(f"def f(x):\n{body}", encoding="utf-8")
    two.write_text(f"import os\n\n\ndef g(x):\n    # other\n{body}", encoding="utf-8")
    assert len(copies.copies([one, two])) == count


def test_the_docstring_does_not_make_a_function_long(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(
        "def f():\n    '''Text.\n\n    More.\n    '''\n    return 1\n", encoding="utf-8"
    )
    assert list(house.functions(path)) == [("f", 1, 2)]


def test_the_figures_need_nothing_but_the_standard_library(tmp_path):
    """Anyone can run them: no package is found with -S -E."""
    command = [sys.executable, "-S", "-E", str(ROOT / "tools" / "house.py"), "--list", "circles"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_matrix_of_versions_comes_from_pyproject(capsys, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = versions.lower_bounds()
    assert set(bounds) == {"torch", "transformers", "huggingface-hub"}
    assert {f"{name}>={bound}" for name, bound in bounds.items()} <= set(project["dependencies"])
    matrix = {cell.name: cell for cell in versions.cells()}
    lowest = {f"{name}=={bound}" for name, bound in bounds.items()}
    assert set(matrix["lowest-torch"].pins) == lowest
    assert lowest - set(matrix["lowest"].pins) == {f"torch=={bounds['torch']}"}
    assert matrix["plain"].pins == ()
    assert [cell.name for cell in matrix.values() if cell.unasked] == ["lowest", "highest"]
    assert all("torch==2.7" in cell.pins for cell in versions.cells("2.7"))
    monkeypatch.setattr(sys, "argv", ["versions.py", "--list", "--cell", "lowest"])
    assert versions.main() == 0
    assert capsys.readouterr().out.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["versions.py", "--cell", "newest"])
    assert versions.main() == 2
    assert "no cell newest; there are lowest, highest" in capsys.readouterr().err
