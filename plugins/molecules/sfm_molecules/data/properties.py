"""Cheap riches of GFN2-xTB: frontier levels, polarizability and solvation free energies.

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
