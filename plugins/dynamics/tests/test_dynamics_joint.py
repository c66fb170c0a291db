"""The domain joins joint pretraining through the door that every plugin has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sfm_dynamics.simulators.bodies import BodiesInSpace

from sfm.model import FoundationModel
from sfm.recipe import load, parse
from sfm.train.pretrain import pretrain

ROOT = Path(__file__).resolve().parents[3]


def test_the_core_knows_nothing_of_it():
    """No module of the core names the plugin or its parts, but where all plugins are listed."""
    named = ("sfm_dynamics", "dynamics-bodies", "dynamics-trajectories", "dynamics/variables")
    listed = {"registry.py", "bundled.py"}
    naming = [
        path
        for path in (ROOT / "sfm").rglob("*.py")
        if path.name not in listed and any(n in path.read_text(encoding="utf-8") for n in named)
    ]
    assert not naming


def test_the_bundled_models_recipe_has_it():
    domains = {
        task.dataset.split("/")[0] for task in load(ROOT / "recipes/sfm-tiny.yaml", []).tasks
    }
    assert domains == {"molecules", "crystals", "fluids", "dft", "dynamics"}


@pytest.mark.slow
def test_bodies_states_and_molecules_train_one_trunk(tmp_path):
    """Three steps on three encoders; every expert of the trunk has a gradient from each domain."""
    recipe = parse(
        {
            "name": "joint",
            "model": {"size": "tiny"},
            "tasks": [
                {"dataset": "dynamics/dynamics-bodies", "quantities": {"energy": 1, "forces": 1}},
                {
                    "dataset": "dynamics/dynamics-trajectories",
                    "levels": ["Lorenz 63", "Pendulum"],
                    "quantities": {"rate": 1},
                },
                {"dataset": "molecules/molecules-xtb", "quantities": {"energy": 1}},
            ],
            "training": {"steps": 3, "tokens_per_batch": 64, "validation_samples": 4},
        }
    )
    out = pretrain(recipe, tmp_path / "model", test_samples=4, log=False)
    report = json.loads((out / "report.json").read_text())
    encoders = {metric["encoder"] for metric in report["metrics"]}
    assert encoders == {"dynamics/bodies", "dynamics/variables", "molecules/atoms"}
    model = FoundationModel.from_pretrained(out)
    closure = model.closure("dynamics", level="Newton", extrapolate=True)
    sim = BodiesInSpace(potential="none", closure=closure).requires_grad_(False)
    with torch.no_grad():
        run = sim.run(sim.state(), 2)
    assert bool(torch.isfinite(run.observables["body_total_energy"]).all())
    assert float(run.observables["forces"].detach().abs().max()) > 0
