"""Quantities of molecules besides the core's energy and forces. No heavy imports."""

from __future__ import annotations

from sfm.quantity import (
    BARRIER,
    CONSERVED_ENERGY,
    FREQUENCIES,
    JOINED_DISTANCE,
    JOINED_ENERGY,
    KINETIC_TEMPERATURE,
    LARGEST_FORCE,
    NUCLEAR_KINETIC_ENERGY,
    PATH_DISTANCE,
    PATH_ENERGY,
    REVERSE_BARRIER,
    Quantity,
)

DIPOLE = Quantity("dipole", "e*angstrom", "1o", summary="electric dipole moment")
QUADRUPOLE = Quantity(
    "quadrupole",
    "e*angstrom**2",
    "2e",
    summary="traceless electric quadrupole moment (Buckingham's), 3 x 3, about the mean position",
)
CHARGES = Quantity("charges", "e", per="token", summary="partial charges of the atoms")
VALENCES = Quantity(
    "valences", "1", per="token", summary="sum of an atom's bond orders with all others"
)
# of two molecules far from two others it is twice as much, and a longer tail changes nothing: a sum
INTERACTION_ENERGY = Quantity(
    "interaction_energy",
    "eV",
    extensive=True,
    summary="energy of molecules together less that of each alone, at the same geometry",
)
POLARIZABILITY = Quantity(
    "polarizability",
    "bohr**3",
    extensive=True,
    summary="isotropic static dipole polarizability, a third of the tensor's trace",
)
HOMO = Quantity("homo", "eV", summary="energy of the highest occupied orbital")
LUMO = Quantity("lumo", "eV", summary="energy of the lowest unoccupied orbital")
SOLVATION_ENERGY_WATER = Quantity(
    "solvation_energy_water",
    "eV",
    extensive=True,
    summary="free energy of solvation in water",
)
SOLVATION_ENERGY_OCTANOL = Quantity(
    "solvation_energy_octanol",
    "eV",
    extensive=True,
    summary="free energy of solvation in 1-octanol",
)
SOLVATION_ENERGY_HEXANE = Quantity(
    "solvation_energy_hexane",
    "eV",
    extensive=True,
    summary="free energy of solvation in hexane",
)
MELTING_TEMPERATURE = Quantity("melting_temperature", "K", summary="of the solid, at 1 atm")
BOILING_TEMPERATURE = Quantity("boiling_temperature", "K", summary="of the liquid, at 1 atm")
LOG_OCTANOL_WATER = Quantity(
    "log_octanol_water",
    "1",
    extensive=True,
    summary="log10 of the partition coefficient of octanol over water",
)
ZERO_POINT_ENERGY = Quantity(
    "zero_point_energy", "eV", extensive=True, summary="of harmonic vibrations, real ones"
)
GAS_ENTHALPY = Quantity(
    "gas_enthalpy", "eV", summary="of a molecule of an ideal gas: rigid rotor, harmonic vibrations"
)
GAS_ENTROPY = Quantity("gas_entropy", "eV/kelvin", summary="of a molecule of an ideal gas")
GAS_GIBBS_ENERGY = Quantity("gas_gibbs_energy", "eV", summary="of a molecule of an ideal gas")
IMAGINARY_FREQUENCY = Quantity(
    "imaginary_frequency", "1/cm", summary="size of a saddle point's lowest one; 0 if it is real"
)
NEGATIVE_MODES = Quantity(
    "negative_modes", "1", summary="vibrations with an imaginary frequency; 1 at a transition state"
)

ALL = (
    DIPOLE,
    QUADRUPOLE,
    CHARGES,
    VALENCES,
    INTERACTION_ENERGY,
    POLARIZABILITY,
    HOMO,
    LUMO,
    SOLVATION_ENERGY_WATER,
    SOLVATION_ENERGY_OCTANOL,
    SOLVATION_ENERGY_HEXANE,
    MELTING_TEMPERATURE,
    BOILING_TEMPERATURE,
    LOG_OCTANOL_WATER,
    NUCLEAR_KINETIC_ENERGY,
    CONSERVED_ENERGY,
    KINETIC_TEMPERATURE,
    FREQUENCIES,
    ZERO_POINT_ENERGY,
    GAS_ENTHALPY,
    GAS_ENTROPY,
    GAS_GIBBS_ENERGY,
    BARRIER,
    REVERSE_BARRIER,
    PATH_ENERGY,
    PATH_DISTANCE,
    LARGEST_FORCE,
    IMAGINARY_FREQUENCY,
    NEGATIVE_MODES,
    JOINED_ENERGY,
    JOINED_DISTANCE,
)
