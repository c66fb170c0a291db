"""The schema of config.json knows whatever sfm itself writes."""

from __future__ import annotations

import dataclasses

import pytest

from sfm import config
from sfm.config import schema as config_schema
from sfm.config.coverage import Coverage
from sfm.nn.trunk import TrunkConfig
from sfm.quantity import Quantity


@pytest.mark.parametrize(
    ("written", "known"),
    [
        (config.HeadSpec, config_schema._Head),
        (config.Target, config_schema._Target),
        (config.ModelConfig, config_schema._Config),
        (Quantity, config_schema._Quantity),
        (Coverage, config_schema._Coverage),
        (TrunkConfig, config_schema._Trunk),
    ],
)
def test_every_field_is_known(written, known):
    assert {f.name for f in dataclasses.fields(written)} <= set(known.model_fields)


def test_options_of_heads_in_closed_form_are_known():
    head = {
        "encoder": "molecules/atoms",
        "quantity": "energy",
        "part": "core/kernel",
        "options": {
            "points": 48,
            "widths": {"features": 384},
            "descriptors": {"molecules": ["mass", "rings"]},
            "baseline": {"quantity": "energy", "factor": 1.0, "references": True},
            "kind": "delta ridge",
        },
        "level": "GFN2-xTB",
    }
    config_schema._Head.model_validate(head)
    config_schema._Quantity.model_validate(
        {"name": "homo", "unit": "eV", "affine": ["orbital_energies", 2.0]}
    )
