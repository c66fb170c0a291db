"""Physical constants in eV, angstrom, fs, amu and kelvin (CODATA 2018). No heavy imports."""

from __future__ import annotations

BOLTZMANN = 8.617333262e-5  # eV / K
# acceleration of 1 amu by 1 eV/angstrom in angstrom/fs^2: e / (1e-10 m * amu) * 1e-20
ACCELERATION = 9.648533212331e-3
LIGHT = 2.99792458e-5  # cm/fs
PLANCK = 4.135667696  # eV fs
