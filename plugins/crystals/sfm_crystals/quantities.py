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
