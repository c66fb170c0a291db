"""Engines and workflows: the blocks of both pages run where the package is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sfm
from sfm.testing.snippets import missing

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
PAGE, WORKFLOWS = (
    (HOWTO / name).read_text(encoding="utf-8") for name in ("engines.md", "workflows.md")
)


def blocks(kind, page=PAGE):
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.M | re.S)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [*blocks("py"), *blocks("py", WORKFLOWS)],
    ids=lambda code: re.findall(r"import (\w+)", code)[1],
)
def test_a_block_runs_where_its_engine_is_installed(code, tmp_path):
    if name := missing(code):
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_i_pi_conserves_energy(tmp_path):
    """200 steps of 0.5 fs: the conserved energy stays within 5 meV."""
    command = shutil.which("i-pi", path=f"{Path(sys.executable).parent}")
    if command is None:
        pytest.skip("i-pi is not installed")
    name = f"sfm{tmp_path.parent.name}{tmp_path.name}".replace("-", "")
    (tmp_path / "input.xml").write_text(blocks("xml")[0].replace(">ethanol<", f">{name}<"))
    shutil.copy(sfm.example("ethanol.xyz"), tmp_path)
    engine = subprocess.Popen([command, "input.xml"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    words = ["--socket", f"unix:{name}", "--input", "ethanol.xyz"]
    served = subprocess.run(
        [sys.executable, "-m", "sfm", "serve", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert served.returncode == 0, served.stderr
    assert engine.wait(60) == 0
    conserved = np.loadtxt(tmp_path / "ethanol.md")[:, 2]
    assert len(conserved) == 21
    assert np.ptp(conserved) < 5e-3
