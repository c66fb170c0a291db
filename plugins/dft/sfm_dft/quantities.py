"""Quantities of the dft domain, besides the core's energy. No heavy imports."""

from __future__ import annotations

from sfm.quantity import FREQUENCIES, Quantity

KINETIC_ENERGY = Quantity(
    "kinetic_energy", "eV", extensive=True, summary="kinetic energy of the Kohn-Sham orbitals"
)
EXTERNAL_ENERGY = Quantity(
    "external_energy", "eV", extensive=True, summary="attraction of electrons by nuclei"
)
HARTREE_ENERGY = Quantity(
    "hartree_energy", "eV", extensive=True, summary="classical repulsion of the electron density"
)
NUCLEAR_ENERGY = Quantity("nuclear_energy", "eV", extensive=True, summary="repulsion of nuclei")
DISPERSION_ENERGY = Quantity(
    "dispersion_energy", "eV", extensive=True, summary="London dispersion added to the functional"
)
XC_ENERGY = Quantity("xc_energy", "eV", extensive=True, summary="exchange-correlation energy")
XC_CORRECTION = Quantity(
    "xc_correction",
    "eV",
    extensive=True,
    summary="exchange-correlation energy beyond LDA of the same density: E_xc^PBE[n] - E_xc^LDA[n]",
)
DIPOLE = Quantity("dipole", "e*angstrom", "1o", summary="electric dipole moment")
HOMO = Quantity("homo", "eV", summary="energy of the highest occupied orbital")
LUMO = Quantity("lumo", "eV", summary="energy of the lowest unoccupied orbital")
DENSITY_COEFFICIENTS = Quantity(
    "density_coefficients",
    "1",
    "10x0e+5x1o+4x2e",
    "token",
    summary="electron density as atom-centred s, p, d functions (sfm_dft.basis)",
)
DENSITY_PROJECTIONS = Quantity(
    "density_projections",
    "1",
    "10x0e+5x1o+4x2e",
    "token",
    summary="electron density projected on atom-centred s, p, d functions",
)
ATOMISATION_ENERGY = Quantity(
    "atomisation_energy",
    "eV",
    extensive=True,
    summary="energy to take the molecule apart into free atoms at rest, without zero-point energy",
    affine=("energy", -1.0),
)
ATOMISATION_ENERGY_UNCERTAINTY = Quantity(
    "atomisation_energy_uncertainty",
    "eV",
    summary="half a 95 % interval of a measured atomisation energy",
)
SPIN_SQUARED = Quantity(
    "spin_squared", "1", summary="expectation of S^2: 0 for a singlet, 0.75 for a pure doublet"
)
SCF_RESIDUAL = Quantity(
    "scf_residual", "eV", summary="largest Fock-density commutator: zero when self-consistent"
)
POLARIZABILITY = Quantity(
    "polarizability",
    "bohr**3",
    extensive=True,
    summary="isotropic static dipole polarizability, a third of the tensor's trace",
)
POLARIZABILITY_TENSOR = Quantity(
    "polarizability_tensor",
    "bohr**3",
    "0e+2e",
    extensive=True,
    summary="static dipole polarizability, as a symmetric matrix (3, 3)",
)
HESSIAN = Quantity(
    "hessian",
    "eV/angstrom**2",
    derived_from="energy",
    summary="second derivatives of the energy by the positions, (3A, 3A)",
)
IR_INTENSITIES = Quantity(
    "ir_intensities", "km/mol", summary="infrared absorption of each harmonic vibration"
)

ALL = (
    KINETIC_ENERGY,
    EXTERNAL_ENERGY,
    HARTREE_ENERGY,
    NUCLEAR_ENERGY,
    DISPERSION_ENERGY,
    XC_ENERGY,
    XC_CORRECTION,
    DIPOLE,
    HOMO,
    LUMO,
    DENSITY_COEFFICIENTS,
    DENSITY_PROJECTIONS,
    ATOMISATION_ENERGY,
    ATOMISATION_ENERGY_UNCERTAINTY,
    SPIN_SQUARED,
    SCF_RESIDUAL,
    POLARIZABILITY,
    POLARIZABILITY_TENSOR,
    HESSIAN,
    FREQUENCIES,
    IR_INTENSITIES,
)
