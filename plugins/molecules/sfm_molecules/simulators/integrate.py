"""Time steps of classical particles: velocity Verlet and Langevin (BAOAB), pure functions.

Units: angstrom, femtosecond, atomic mass unit, electronvolt.

Velocity Verlet: W. C. Swope et al., J. Chem. Phys. 76, 637 (1982). BAOAB: B. Leimkuhler and
C. Matthews, Appl. Math. Res. Express 2013, 34 (2013).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfm_molecules.constants import ACCELERATION, BOLTZMANN

Forces = Callable[[Tensor], Tensor]


def verlet_step(
    positions: Tensor, velocities: Tensor, forces: Tensor, masses: Tensor, dt: float, field: Forces
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Newton's equations, second order, time-reversible, symplectic.

    Args:
        positions: (N, 3) angstrom. velocities: (N, 3) angstrom/fs. forces: (N, 3) eV/angstrom.
        masses: (N, 1) amu.
        dt: fs.
        field: forces at positions.

    Returns:
        Positions, velocities and forces after `dt`.
    """
    half = velocities + (0.5 * dt * ACCELERATION) * forces / masses
    positions = positions + dt * half
    forces = field(positions)
    return positions, half + (0.5 * dt * ACCELERATION) * forces / masses, forces


def langevin_step(
    positions: Tensor,
    velocities: Tensor,
    forces: Tensor,
    masses: Tensor,
    dt: float,
    field: Forces,
    *,
    friction: Tensor,
    temperature: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One BAOAB step of Langevin's equation; it samples the canonical ensemble.

    Args:
        friction: 1/fs. temperature: kelvin.
        noise: (N, 3) standard normal numbers. The others are those of `verlet_step`.
    """
    half = velocities + (0.5 * dt * ACCELERATION) * forces / masses
    positions = positions + 0.5 * dt * half
    keep = torch.exp(-friction * dt)
    width = ((1 - keep.square()) * BOLTZMANN * temperature * ACCELERATION / masses).sqrt()
    half = keep * half + width * noise
    positions = positions + 0.5 * dt * half
    forces = field(positions)
    return positions, half + (0.5 * dt * ACCELERATION) * forces / masses, forces


def kinetic_energy(velocities: Tensor, masses: Tensor) -> Tensor:
    """(N,) kinetic energy of each particle, eV."""
    return 0.5 * masses.squeeze(-1) * velocities.square().sum(-1) / ACCELERATION


def thermal_velocities(
    masses: Tensor,
    system: Tensor,
    temperature: float,
    generator: torch.Generator,
    free: Tensor | None = None,
) -> Tensor:
    """(N, 3) Maxwell-Boltzmann velocities, each system at rest as a whole.

    They are scaled so that a system of n > 1 particles has exactly the kinetic energy
    3/2 n k_B T; a single particle gets none. `free` (N, 3) is false for coordinates that are fixed:
    these get no velocity, the others k_B T / 2 each, and the system may move as a whole.
    """
    noise = torch.randn(masses.shape[0], 3, generator=generator, dtype=masses.dtype)
    velocities = noise.to(masses.device) / masses.sqrt()
    free = torch.ones_like(velocities) if free is None else free.to(velocities)
    n = int(system[-1]) + 1

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(n, *values.shape[1:]).index_add(0, system, values)

    pinned = total((1 - free).sum(1)) > 0
    drift = total(masses * velocities) / total(masses)
    drift = torch.where(pinned.unsqueeze(-1), 0.0, drift)
    velocities = free * (velocities - drift[system])
    kinetic = total(kinetic_energy(velocities, masses))
    count = total(torch.ones_like(masses.squeeze(-1)))
    target = 0.5 * total(free.sum(1)) * BOLTZMANN * temperature
    moves = pinned | (count > 1)
    scale = torch.where(moves, (target / kinetic.clamp_min(1e-30)).sqrt(), 0.0)
    return velocities * scale[system].unsqueeze(-1)
