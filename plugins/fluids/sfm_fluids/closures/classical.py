"""The classical subgrid closures: modules velocity, spacing -> stress, in 2-D and 3-D."""

from __future__ import annotations

from sfm_fluids.closures.calculus import subgrid_dissipation
from sfm_fluids.closures.dynamic_smagorinsky import DynamicSmagorinsky
from sfm_fluids.closures.gradient_model import GradientModel
from sfm_fluids.closures.smagorinsky import Smagorinsky, lilly_constant

__all__ = [
    "DynamicSmagorinsky",
    "GradientModel",
    "Smagorinsky",
    "lilly_constant",
    "subgrid_dissipation",
]
