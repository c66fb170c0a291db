"""What a model is made of and what its training data cover, as plain JSON. No torch."""

from __future__ import annotations

from sfm.config.baseline import BaselineSpec
from sfm.config.model_config import (
    FORMAT,
    MODEL_TYPE,
    UPGRADES,
    HeadSpec,
    ModelConfig,
    Target,
    upgrade,
)

__all__ = [
    "FORMAT",
    "BaselineSpec",
    "MODEL_TYPE",
    "UPGRADES",
    "HeadSpec",
    "ModelConfig",
    "Target",
    "upgrade",
]
