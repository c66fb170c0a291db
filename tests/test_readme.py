"""The README's snippets run as they stand, in the order in which they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets() -> list[tuple[str, str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [(kind, body) for kind, body in BLOCK.findall(text) if "make demo" not in body]


def prepare(folder: Path) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "examples").symlink_to(ROOT / "docs" / "examples")


@pytest.mark.slow
def test_readme(tmp_path: Path) -> None:
    from sfm.testing.hub_server import HubServer

    prepare(tmp_path)
    found = snippets()
    assert len(found) >= 7
    with HubServer(user="your-name") as hub:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, **hub.environment(home=tmp_path / "hf"), "PATH": path}
        for kind, body in found:
            command = [sys.executable, "-c", body] if kind == "python" else ["bash", "-ec", body]
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
            assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"
    assert {p.name for p in tmp_path.iterdir()} >= {"features.npz", "my-model", "md.png", "copy"}
