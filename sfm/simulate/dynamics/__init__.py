"""Motion of particles in time, for every plugin that knows a potential: integrators, thermostats,
a barostat, neighbour lists with a skin, and what trajectories say.

Rooms, lowest first: `motion`, `noise`, `thermostats`, `barostat`, `rigid`, `ensembles`;
`particles`, `simulator`. Beside these, `neighbours` and `structure` upon it, and `transport`,
`spectra`, `reweighting`, `free_energy`. Units: angstrom, fs, amu, eV, kelvin.
"""
