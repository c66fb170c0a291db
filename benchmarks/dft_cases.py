"""The molecules and functionals of the DFT benchmark; geometries are ase's G2 (MP2/6-31G*)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BASIS = "def2-svp"
GRID_LEVEL = 3
TOLERANCE = 1e-6  # hartree; largest residual of ours, norm of the gradient of PySCF
SMALL = (
    "H2 LiH HF H2O NH3 CH4 LiF CO N2 HCN C2H2 H2CO C2H4 F2 H2O2 CH3OH N2H4 H3CNH2 C2H6 CO2 "
    "N2O H2CCO CH3CN C3H4_C2v C3H4_C3v C3H4_D2d HCOOH H2CCHF CH2OCH2 CH3CHO F2O H2CF2"
)


@dataclass(frozen=True)
class Case:
    """Molecules that are solved with one functional."""

    name: str
    names: tuple[str, ...]
    functional: str = "PBE"
    libxc: str = "PBE,PBE"
    auxiliary: str = "def2-universal-jfit"
    basis: str = BASIS
    tasks: tuple[str, ...] = ("energy", "forces")

    def molecules(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Name, atomic numbers (A,), positions (A, 3) in angstrom."""
        from ase.build import molecule

        for name in self.names:
            atoms = molecule(name)
            yield name, atoms.numbers, atoms.positions


CASES = {
    case.name: case
    for case in (
        Case("water", ("H2O",)),
        Case("water r2SCAN", ("H2O",), "r2SCAN", "MGGA_X_R2SCAN,MGGA_C_R2SCAN"),
        Case("water B3LYP", ("H2O",), "B3LYP", "B3LYP", "def2-universal-jkfit"),
        Case("benzene", ("C6H6",)),
        Case("32 molecules", tuple(SMALL.split()), tasks=("energy",)),
        Case(
            "water B3LYP def2-TZVP",
            ("H2O",),
            "B3LYP",
            "B3LYP",
            "def2-universal-jkfit",
            "def2-tzvp",
            ("hessian",),
        ),
    )
}
