"""What moves: the state that integrators advance, and its kinetic energy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.constants import ACCELERATION, BOLTZMANN
from sfm.data.tokens import system_sum

CHAIN = 3  # thermostats of a Nose-Hoover chain


class Motion(NamedTuple):
    """S systems of N particles in all; every entry is a tensor, so that rollouts can keep it.

    positions (N, 3) angstrom, not wrapped into the cell; velocities (N, 3) angstrom/fs; forces
    (N, 3) eV/angstrom at the positions; virial (S, 3, 3) eV, minus dE/dstrain, where the ensemble
    needs it (else zero); cell (S, 3, 3) angstrom, zero for open boundaries; chain
    (S, 2, CHAIN), coordinates and velocities (1/fs) of a Nose-Hoover chain; heat (S,) eV that
    thermostats have given so far.
    """

    positions: Tensor
    velocities: Tensor
    forces: Tensor
    virial: Tensor
    cell: Tensor
    chain: Tensor
    heat: Tensor


Field = Callable[
    [Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]],
    tuple[Float[Tensor, "N 3"], Float[Tensor, "S 3 3"]],
]
"""Forces (N, 3) and virials (S, 3, 3) at positions (N, 3) in cells (S, 3, 3)."""


def kinetic_energy(
    velocities: Float[Tensor, "N 3"], masses: Float[Tensor, "N 1"]
) -> Float[Tensor, " N"]:
    """(N,) kinetic energy in eV of particles with velocities (N, 3) and masses (N, 1)."""
    return 0.5 * masses.squeeze(-1) * velocities.square().sum(-1) / ACCELERATION


def freedom(
    system: Int[Tensor, " N"], free: Bool[Tensor, "N 3"], *, at_rest: bool
) -> Float[Tensor, " S"]:
    """(S,) coordinates of each system that have kinetic energy, at least 1.

    Args:
        system: (N,) index of each particle's system, ascending.
        free: (N, 3), false where a coordinate is fixed.
        at_rest: whether the total momentum stays zero, which takes three away where nothing is
            fixed and there are several particles.
    """
    n = int(system[-1]) + 1
    coordinates = system_sum(free.double().sum(1), system, n)
    count = system_sum(torch.ones_like(system, dtype=torch.float64), system, n)
    whole = (coordinates == 3 * count) & (count > 1)
    taken = 3.0 * whole if at_rest else 0.0 * whole
    return (coordinates - taken).clamp_min(1.0)


def thermal_velocities(
    masses: Float[Tensor, "N 1"],
    system: Int[Tensor, " N"],
    temperature: float,
    generator: torch.Generator,
    free: Bool[Tensor, "N 3"],
    *,
    at_rest: bool,
) -> Float[Tensor, "N 3"]:
    """(N, 3) angstrom/fs, Maxwell-Boltzmann, each system at rest as a whole.

    They are scaled so that a system of n > 1 particles has exactly the kinetic energy k_B T / 2
    for each degree of `freedom`; a single particle gets none. `free` (N, 3) is false for
    coordinates that are fixed: these get no velocity, and the system may then move as a whole.
    """
    noise = torch.randn(masses.shape[0], 3, generator=generator, dtype=masses.dtype)
    velocities = noise.to(masses.device) / masses.sqrt()
    energy = 0.5 * BOLTZMANN * temperature * freedom(system, free, at_rest=at_rest).to(masses)
    free = free.to(velocities)
    n = int(system[-1]) + 1
    pinned = system_sum((1 - free).sum(1), system, n) > 0
    drift = system_sum(masses * velocities, system, n) / system_sum(masses, system, n)
    drift = torch.where(pinned.unsqueeze(-1), 0.0, drift)
    velocities = free * (velocities - drift[system])
    kinetic = system_sum(kinetic_energy(velocities, masses), system, n)
    count = system_sum(torch.ones_like(masses.squeeze(-1)), system, n)
    moves = (pinned | (count > 1)) & (kinetic > 0)
    scale = torch.where(moves, (energy / kinetic.clamp_min(1e-30)).sqrt(), 0.0)
    return velocities * scale[system].unsqueeze(-1)
