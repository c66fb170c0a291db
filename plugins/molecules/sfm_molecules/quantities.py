"""Quantities of molecules besides the core's energy and forces. No heavy imports."""

from __future__ import annotations

from sfm.quantity import Quantity

DIPOLE = Quantity("dipole", "e*angstrom", "1o", summary="electric dipole moment")
CHARGES = Quantity("charges", "e", per="token", summary="partial charges of the atoms")
POLARIZABILITY = Quantity(
    "polarizability",
    "bohr**3",
    extensive=True,
    summary="isotropic static dipole polarizability, a third of the tensor's trace",
)
NUCLEAR_KINETIC_ENERGY = Quantity(
    "nuclear_kinetic_energy", "eV", extensive=True, summary="kinetic energy of the moving nuclei"
)
CONSERVED_ENERGY = Quantity(
    "conserved_energy",
    "eV",
    extensive=True,
    summary="potential and kinetic energy of the nuclei; constant under Newton's equations",
)
KINETIC_TEMPERATURE = Quantity(
    "kinetic_temperature", "kelvin", summary="twice the kinetic energy by 3 n k_B"
)

ALL = (
    DIPOLE,
    CHARGES,
    POLARIZABILITY,
    NUCLEAR_KINETIC_ENERGY,
    CONSERVED_ENERGY,
    KINETIC_TEMPERATURE,
)
