"""Cheap riches of GFN2-xTB: multipoles, bond orders, frontier levels, polarizability, solvation.

The quadrupole moment is the traceless one of A. D. Buckingham, Q. Rev. Chem. Soc. 13, 183 (1959),
1/2 sum q (3 r r^T - r^2), so that an axial molecule has one number, its zz component. It is put
together from GFN2-xTB's moments of the atoms, because the six numbers that tblite 0.8.0 gives for
the molecule are no tensor: in the mixed ones what comes from the places of the atoms counts twice,
so that they do not turn with the molecule. The other three are the same.

Frontier levels are those of the same self-consistent field as the energy. The polarizability is the
derivative of the dipole moment by a uniform electric field, by central differences. Solvation free
energies are differences of energies with and without the implicit solvent ALPB (S. Ehlert,
M. Stahn, S. Spicher, S. Grimme, J. Chem. Theory Comput. 17, 4250 (2021)), at the geometry of the
gas phase and in tblite's state `gsolv`, without correction for a standard state.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm_molecules.constants import BOHR, HARTREE

FIELD = 2e-3  # atomic units; the dipole's cubic term is then a thousandth of its linear one
# what a tblite calculator has to be told to work out: once one is named, none comes by itself
AFTERWARDS = ("bond-orders", "molecular-multipoles", "xtbml_xyz")
SOLVENTS = ("water", "octanol", "hexane")


@dataclass(frozen=True)
class Properties:
    """Of one geometry.

    Attributes:
        homo: highest orbital with at least half an electron, eV.
        lumo: the next one above, eV.
        polarizability: a third of the trace, bohr^3.
        solvation_energy_water, solvation_energy_octanol, solvation_energy_hexane: eV.
    """

    homo: float
    lumo: float
    polarizability: float
    solvation_energy_water: float
    solvation_energy_octanol: float
    solvation_energy_hexane: float

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))

    def array(self) -> Float[np.ndarray, " 6"]:
        """(6,) in the order of `names`."""
        return np.array(astuple(self))


def frontier(result: Any) -> tuple[float, float]:
    """HOMO and LUMO in eV of a tblite result; a singly occupied orbital counts as occupied."""
    levels = np.asarray(result.get("orbital-energies")).ravel()
    filled = np.asarray(result.get("orbital-occupations")).ravel() >= 0.5
    homo = int(np.flatnonzero(filled).max())
    above = levels[homo + 1] if homo + 1 < len(levels) else np.nan  # H2 in a minimal basis has one
    return float(levels[homo]) * HARTREE, float(above) * HARTREE


def quadrupole(result: Any, positions: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "3 3"]:
    """(3, 3) e*angstrom^2, symmetric and traceless, about the origin.

    Theta = sum_i traceless(3/2 (q_i r_i r_i^T + r_i mu_i^T + mu_i r_i^T)) + Theta_i, with the
    charges q, dipoles mu and traceless quadrupoles of the atoms. By definition.

    Args:
        result: of tblite, of a calculator with `AFTERWARDS`.
        positions: (n, 3) angstrom.
    """
    moments = result.get("post-processing-dict")
    charges = np.asarray(result.get("charges"), dtype=np.float64)
    dipoles = np.stack([moments[f"dipm_A_{axis}"] for axis in "xyz"], axis=1) * BOHR
    arms = charges[:, None] * positions
    mixed = (positions.T @ (0.5 * arms + dipoles)) * 1.5
    total = mixed + mixed.T - np.trace(mixed) * 2 / 3 * np.eye(3)
    names = (("xx", "xy", "xz"), ("xy", "yy", "yz"), ("xz", "yz", "zz"))
    local = np.array([[moments[f"qm_A_{name}"].sum() for name in row] for row in names])
    return np.asarray(total + local * BOHR**2)


def bond_orders(result: Any) -> Float[np.ndarray, "n n"]:
    """(n, n) of each pair of atoms, in a tblite result; symmetric, without unit, diagonal zero.

    tblite's array has a second part for differences of spins, empty for a method without
    spin polarisation, and keeps the matrix in front of it.
    """
    n = int(result.get("natoms"))
    flat = np.asarray(result.get("bond-orders"), dtype=np.float64).ravel()
    return np.asarray(flat[: n * n].reshape(n, n))


def properties(
    level: str,
    types: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "n 3"],
    charge: float,
    uhf: int,
    result: Any,
) -> Properties:
    """Everything above, from a converged `result` at the same geometry.

    Args:
        level: tblite's name of the method, `GFN2-xTB`.
        types: (n,) atomic numbers.
        positions: (n, 3) angstrom.
        charge: total charge in e.
        uhf: number of unpaired electrons.
        result: tblite's result without field or solvent.

    Raises:
        tblite.exceptions.TBLiteRuntimeError: a field does not converge.
    """
    from tblite.interface import Calculator

    def again(name: str, *arguments: Any) -> Any:
        calculator = Calculator(level, types, positions / BOHR, charge, uhf)
        calculator.set("verbosity", 0)
        calculator.set("accuracy", 0.1)
        calculator.add(name, *arguments)
        return calculator.singlepoint()

    trace = 0.0
    for axis in range(3):
        field = FIELD * np.eye(3)[axis]
        up, down = (
            again("electric-field", (sign * field).tolist()).get("dipole")[axis]  # a list: for cffi
            for sign in (1, -1)
        )
        trace += abs(up - down) / (2 * FIELD)  # the sign of tblite's field is no convention here
    alone = float(result.get("energy"))
    solvated = [float(again("alpb-solvation", s).get("energy")) - alone for s in SOLVENTS]
    return Properties(*frontier(result), trace / 3, *(HARTREE * e for e in solvated))
