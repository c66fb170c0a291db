"""The Lennard-Jones fluid of the dynamics benchmark, in units of sigma, epsilon and mass; numpy
alone, so that every package's environment can import it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DENSITY = 0.8442  # the melt of LAMMPS's own benchmark
TEMPERATURE = 1.44  # at the start; half of it when the lattice has melted
CUTOFF, SKIN = 2.5, 0.3
DT = 0.005
WARM_UP = 200  # steps
SIZES = {"500": 5, "4000": 10}  # cells of the lattice along each side
GRADIENT_STEPS = 100
CRYSTALS = 200


@dataclass(frozen=True)
class Fluid:
    """Atoms of a cubic box: positions (N, 3), velocities (N, 3), the box's side."""

    positions: np.ndarray
    velocities: np.ndarray
    side: float


def fluid(size: str, *, rattle: float = 0.0) -> Fluid:
    """A face-centred cubic lattice of `size` atoms with thermal velocities of a fixed seed.

    Args:
        rattle: standard deviation of displacements from the lattice, in sigma.
    """
    times = SIZES[size]
    a = (4 / DENSITY) ** (1 / 3)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    corners = np.stack(np.meshgrid(*[np.arange(times)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    positions = a * (corners + basis).reshape(-1, 3)
    rng = np.random.default_rng(0)
    velocities = rng.standard_normal(positions.shape)
    velocities -= velocities.mean(0)
    velocities *= (TEMPERATURE * (3 * len(positions) - 3) / (velocities**2).sum()) ** 0.5
    positions = positions + rattle * rng.standard_normal(positions.shape)
    return Fluid(positions, velocities, a * times)
