"""Raw features of tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def mass_features(masses: Tensor) -> Tensor:
    """(N, 2) scalars of masses (N,) in amu: the mass and its logarithm."""
    return torch.stack((masses, masses.log()), -1)
