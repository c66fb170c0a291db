"""The built wheel works outside the clone: code, plugins, bundled model and data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CHECK = """
import json, sys
import sfm
from sfm.registry import discover
rows = {row.name: row.error for row in discover()}
model = sfm.load("sfm-tiny")
value = float(model.predict(sys.argv[1])["energy"])
sizes = {name: len(sfm.dataset(name)) for name in sys.argv[2:]}
print(json.dumps({"file": sfm.__file__, "plugins": rows, "energy": value, "sizes": sizes}))
"""


@pytest.mark.slow
def test_wheel_works_outside_the_clone(tmp_path: Path) -> None:
    import json

    import sfm

    built, site, away = tmp_path / "wheel", tmp_path / "site", tmp_path / "away"
    away.mkdir()
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(built)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < 50e6
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    example = ROOT / "docs" / "examples" / "ethanol.xyz"
    names = ["molecules/molecules-xtb", "fluids/turbulence-2d"]
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(example), *names],
        cwd=away,
        env={**os.environ, "PYTHONPATH": str(site), "SFM_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert Path(printed["file"]).is_relative_to(site)
    assert set(printed["plugins"]) == {"molecules", "crystals", "fluids", "dft", "dynamics"}
    assert not any(printed["plugins"].values())
    assert printed["sizes"]["molecules/molecules-xtb"] == 10_000
    here = float(sfm.load("sfm-tiny").predict(str(example))["energy"])
    assert printed["energy"] == pytest.approx(here, abs=1e-6)
