"""The outside plugin of `examples/`: found by its entry point, conforms, joins pretraining."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sfm.testing.distributions import install

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "sfm-phi4"


@pytest.fixture
def sfm(tmp_path):
    install(tmp_path / "site", "sfm-phi4", {"phi4": "sfm_phi4:plugin"})
    path = [str(tmp_path / "site"), str(FOLDER), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "SFM_CACHE": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_it_passes_the_kit_and_its_own_tests(sfm):
    said = sfm(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / "tests")
    )
    assert "failed" not in said


@pytest.mark.slow
def test_it_samples_and_joins_pretraining(sfm):
    command = [sys.executable, "-m", "sfm"]
    options = ["--set", "size=8", "chains=64", "--steps", "40", "--json"]
    body = json.loads(sfm(*command, "simulate", "phi4/hybrid-monte-carlo", *options))
    assert body["quantities"]["phi_squared"]["unit"] == "1"
    small = [
        "--set",
        "training.steps=3",
        "training.max_samples=20",
        "training.validation_samples=4",
    ]
    sfm(*command, "pretrain", str(FOLDER / "joint.yaml"), *small, "--out", "joint")
    said = json.loads(
        sfm(
            *command,
            "evaluate",
            "joint",
            "--data",
            "phi4/ensembles",
            "--max-samples",
            "4",
            "--json",
        )
    )
    assert "phi4_action" in json.dumps(said)
