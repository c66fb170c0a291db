"""Physical constants (CODATA 2018) besides those of `sfm.constants`. No heavy imports."""

from __future__ import annotations

KCAL_PER_MOL = 0.04336410390059322  # eV
HARTREE = 27.211386245988  # eV
BOHR = 0.529177210903  # angstrom
