"""Fixtures of the molecules plugin's tests."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sfm_molecules.quantities import CHARGES, DIPOLE, POLARIZABILITY, QUADRUPOLE

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.model import FoundationModel
from sfm.nn.trunk import TrunkConfig
from sfm.quantity import ENERGY

PART = "molecules/atoms"
LEVEL = "GFN2-xTB"


@pytest.fixture
def model() -> FoundationModel:
    """A small untrained model in float64 with all heads of this plugin."""
    quantities = {q.name: q for q in (ENERGY, CHARGES, DIPOLE, QUADRUPOLE, POLARIZABILITY)}
    config = ModelConfig(
        trunk=dataclasses.asdict(TrunkConfig(channels=8, layers=2, experts=2, carried=4)),
        encoders={PART: {"cutoff": 5.0}},
        encoder_domains={PART: "molecules"},
        heads=tuple(HeadSpec(PART, name, f"molecules/{name}") for name in quantities),
        targets=tuple(Target(PART, LEVEL, name) for name in quantities),
        contexts=((PART, LEVEL),),
        quantities=quantities,
        plugins={},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        built = FoundationModel(config)
        for parameter in built.parameters():  # some layers start at zero: nothing would be tested
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return built.double()
