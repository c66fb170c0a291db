"""Atoms at rest, for every plugin that knows a potential: minima, saddle points, small vibrations.

Rooms, lowest first: `fire`, `basin`, `descent` and `dimer` upon both; `rigid_motions`, `open_basin`
and `vibrations` upon them; `harmonic`, `ideal_gas` upon it. Units: angstrom, eV, amu, THz, kelvin.
"""
