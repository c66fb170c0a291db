"""Atoms at rest, for every plugin that knows a potential: minima, saddle points, small vibrations.

Rooms, lowest first: `per_system`; `fire`, `lbfgs`, `basin`, `descent`, `dimer` and `saddle` upon
both; `elastic_band`, `interpolation`, `barriers`; `rigid_motions`, `open_basin` and `vibrations`
upon them; `harmonic`, `ideal_gas` upon it. Units: angstrom, eV, amu, THz, kelvin.
"""
