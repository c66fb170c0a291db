"""The classical subgrid closures: modules velocity, spacing -> stress, in 2-D and 3-D."""

from __future__ import annotations

from .calculus import subgrid_dissipation
from .dynamic_smagorinsky import DynamicSmagorinsky
from .gradient_model import GradientModel
from .smagorinsky import Smagorinsky, lilly_constant

__all__ = [
    "DynamicSmagorinsky",
    "GradientModel",
    "Smagorinsky",
    "lilly_constant",
    "subgrid_dissipation",
]
