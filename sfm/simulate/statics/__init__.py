"""Atoms at rest, for every plugin that knows a potential: minima, saddle points, small vibrations.

Rooms, lowest first: `fire`, `lbfgs`, `basin`, `descent`, `dimer` and `saddle` upon both;
`elastic_band`, `interpolation`; `rigid_motions`, `open_basin` and `vibrations` upon them;
`harmonic`, `ideal_gas` upon it. Units: angstrom, eV, amu, THz, kelvin.
"""
