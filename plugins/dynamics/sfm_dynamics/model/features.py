"""Raw features of tokens."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def mass_features(masses: Float[Tensor, " N"]) -> Float[Tensor, "N 2"]:
    """(N, 2) scalars of masses (N,) in amu: the mass and its logarithm."""
    return torch.stack((masses, masses.log()), -1)
