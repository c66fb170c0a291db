"""A small model folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder with every file that a model repository may hold, and some that it may not."""
    from safetensors.numpy import save_file

    folder = tmp_path / "tiny"
    folder.mkdir()
    random = numpy.random.default_rng(0)
    save_file({"w": random.normal(size=(64, 64)), "b": numpy.ones(3)}, folder / "model.safetensors")
    config = {
        "model_type": "sfm",
        "format": 1,
        "name": "tiny",
        "encoders": {"molecules/atoms": {"cutoff": 5.0}},
        "encoder_domains": {"molecules/atoms": "molecules"},
        "targets": [{"encoder": "molecules/atoms", "level": "GFN2-xTB", "quantity": "energy"}],
        "quantities": {"energy": {"name": "energy", "unit": "eV", "per": "system"}},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "training.json").write_text(json.dumps({"seeds": [0], "licence": "Apache-2.0"}))
    (folder / "references.bib").write_text("@misc{a,\n  doi = {10.1000/x}\n}\n")
    head = "---\nlicense: apache-2.0\nlibrary_name: sfm\ntags: [sfm, molecules]\n---\n"
    (folder / "README.md").write_text(head + "# tiny\n\nA test model.\n")
    (folder / "notes.txt").write_text("stays here")
    return folder
