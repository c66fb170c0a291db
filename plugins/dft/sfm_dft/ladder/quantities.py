"""Quantities of the one-dimensional models, in hartree and bohr. No heavy imports."""

from __future__ import annotations

from sfm.quantity import Quantity

ENERGY = Quantity(
    "energy_1d", "hartree", extensive=True, summary="total energy on a line, nuclei included"
)
KINETIC = Quantity(
    "kinetic_energy_1d", "hartree", extensive=True, summary="kinetic energy of the orbitals"
)
EXTERNAL = Quantity(
    "external_energy_1d", "hartree", extensive=True, summary="attraction of electrons by nuclei"
)
HARTREE = Quantity(
    "hartree_energy_1d", "hartree", extensive=True, summary="classical repulsion of the density"
)
XC = Quantity("xc_energy_1d", "hartree", extensive=True, summary="exchange-correlation energy")
NUCLEAR = Quantity("nuclear_energy_1d", "hartree", extensive=True, summary="repulsion of nuclei")
DENSITY = Quantity("density_1d", "1/bohr", per="grid", summary="electrons per length on a line")
GAP = Quantity(
    "gap_1d",
    "hartree",
    summary="lowest level that takes an electron minus highest level that has one",
)
RESIDUAL = Quantity(
    "scf_residual_1d", "1", summary="integral of |n_out - n_in|: electrons misplaced by a cycle"
)
CYCLES = Quantity("scf_cycles", "1", summary="Kohn-Sham problems solved so far")
CONVERGED = Quantity("scf_converged", "1", summary="1 where self-consistent, 0 elsewhere")

ALL = (
    ENERGY,
    KINETIC,
    EXTERNAL,
    HARTREE,
    XC,
    NUCLEAR,
    DENSITY,
    GAP,
    RESIDUAL,
    CYCLES,
    CONVERGED,
)
