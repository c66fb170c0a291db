"""The model: encoders, one shared trunk, heads; what users ask of it, and how it is kept.

Lowest first: `guard`, `readout`, `baselines`, `network`, `growing`, `checkpoint`, `inputs`,
`predict`, `embed`, `indexed`, `similar`, `potential`, `calculator`, `foundation`; `pretrained`, of
small modules.
"""

from __future__ import annotations

from sfm.model.foundation import FoundationModel

__all__ = ["FoundationModel"]
