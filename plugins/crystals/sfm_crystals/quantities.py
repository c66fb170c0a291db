"""Quantities of crystals besides the core's energy, forces and stress. No heavy imports."""

from sfm.quantity import Quantity

FORMATION_ENERGY = Quantity(
    "formation_energy",
    "eV",
    summary="per atom, from the elements in their standard states",
    affine=("energy", 1.0),
)
FORMATION_ENERGY_UNCERTAINTY = Quantity(
    "formation_energy_uncertainty", "eV", summary="per atom, standard uncertainty of a measurement"
)
VOLUME = Quantity("volume", "angstrom**3", extensive=True, summary="of the periodic cell")
PRESSURE = Quantity(
    "pressure",
    "GPa",
    summary="minus a third of the stress's trace; of atoms in motion, with theirs",
)
ELASTIC_CONSTANTS = Quantity(
    "elastic_constants", "GPa", summary="6 x 6, Voigt order xx, yy, zz, yz, xz, xy; atoms relaxed"
)
CLAMPED_ELASTIC_CONSTANTS = Quantity(
    "clamped_elastic_constants", "GPa", summary="with atoms at their fractional coordinates"
)
BULK_MODULUS = Quantity("bulk_modulus", "GPa", summary="of an elastic cell: Hill's average")
BULK_MODULUS_DERIVATIVE = Quantity("bulk_modulus_derivative", "1", summary="dB/dP at P = 0")
SHEAR_MODULUS = Quantity("shear_modulus", "GPa", summary="Hill's average over grains")
YOUNGS_MODULUS = Quantity("youngs_modulus", "GPa", summary="Hill's average over grains")
POISSON_RATIO = Quantity("poisson_ratio", "1", summary="Hill's average over grains")
ANISOTROPY = Quantity("elastic_anisotropy", "1", summary="universal, 0 if isotropic")
STABILITY = Quantity("stability", "GPa", summary="smallest eigenvalue of the elastic constants")
CURVE_VOLUME = Quantity("curve_volume", "angstrom**3", summary="of each cell of E(V)")
CURVE_ENERGY = Quantity("curve_energy", "eV", summary="of each cell of E(V)")
ALL = (
    FORMATION_ENERGY,
    FORMATION_ENERGY_UNCERTAINTY,
    VOLUME,
    PRESSURE,
    ELASTIC_CONSTANTS,
    CLAMPED_ELASTIC_CONSTANTS,
    BULK_MODULUS,
    BULK_MODULUS_DERIVATIVE,
    SHEAR_MODULUS,
    YOUNGS_MODULUS,
    POISSON_RATIO,
    ANISOTROPY,
    STABILITY,
    CURVE_VOLUME,
    CURVE_ENERGY,
)
