"""Gaussian integrals in torch: differentiable, batched over primitives, CPU and GPU, float64."""

from sfm_dft.integrals.boys import boys
from sfm_dft.integrals.matrices import (
    dipole,
    fitted_factors,
    kinetic,
    nuclear,
    overlap,
    three_centre,
    three_centre_overlap,
    two_centre,
)
from sfm_dft.integrals.shells import Shells

__all__ = [
    "Shells",
    "boys",
    "dipole",
    "fitted_factors",
    "kinetic",
    "nuclear",
    "overlap",
    "three_centre",
    "three_centre_overlap",
    "two_centre",
]
