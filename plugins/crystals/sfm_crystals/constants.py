"""Physical constants in this plugin's units. No heavy imports."""

from __future__ import annotations

GPA = 160.21766208  # GPa in one eV/angstrom^3 (CODATA 2014, as in pymatgen and CHGNet)
