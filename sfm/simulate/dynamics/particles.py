"""The state of a molecular-dynamics simulator, and how samples become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.simulate.dynamics.motion import CHAIN, thermal_velocities


class Particles(NamedTuple):
    """A batch of S systems of moving atoms, N in all, stored one after another.

    positions (N, 3) angstrom, not wrapped; velocities (N, 3) angstrom/fs; types (N,) atomic
    numbers; masses (N, 1) amu; system (N,) index of each atom's system; step, the number of steps
    done; time in fs; charge (S,) e; spin (S,) number of unpaired electrons; free (N, 3), whether a
    coordinate may change; cell (S, 3, 3) angstrom, rows are lattice vectors, zero for open
    boundaries; chain (S, 2, M) of a Nose-Hoover thermostat; heat (S,) eV that other thermostats
    gave; start (N, 3), positions at step 0.
    """

    positions: Tensor
    velocities: Tensor
    types: Tensor
    masses: Tensor
    system: Tensor
    step: Tensor
    time: Tensor
    charge: Tensor
    spin: Tensor
    free: Tensor
    cell: Tensor
    chain: Tensor
    heat: Tensor
    start: Tensor

    @property
    def conditions(self) -> dict[str, Tensor]:
        """What an energy may depend on besides elements and places, (S,) each."""
        return {"charge": self.charge, "spin": self.spin}


def system_of(samples: Sequence[Sample]) -> Tensor:
    """(N,) index of each atom's sample."""
    counts = torch.tensor([len(one.types) for one in samples])
    return torch.repeat_interleave(torch.arange(len(samples)), counts)


def free_of(samples: Sequence[Sample]) -> Tensor:
    """(N, 3) false for coordinates (angstrom) that are fixed, true elsewhere."""
    rows = [np.ones((len(s.types), 3), bool) if s.fixed is None else ~s.fixed for s in samples]
    return torch.from_numpy(np.concatenate(rows))


def masses_of(samples: Sequence[Sample]) -> Tensor:
    """(N, 1) amu: the samples' own, or standard atomic weights.

    Raises:
        InputError: a type that is no element.
    """
    from ase.data import atomic_masses

    if any((one.types < 1).any() for one in samples):
        raise InputError("molecular dynamics needs atoms; a type of 0 has no mass")
    rows = [atomic_masses[s.types] if s.masses is None else s.masses for s in samples]
    return torch.from_numpy(np.concatenate(rows).astype(np.float64)).unsqueeze(1)


def particles_of(
    samples: Sequence[Sample],
    dtype: torch.dtype,
    *,
    temperature: float,
    seed: int,
    at_rest: bool,
) -> Particles:
    """The samples with their velocities, or thermal ones.

    Args:
        dtype: of everything that is measured.
        temperature: kelvin, of thermal velocities.
        seed: of these.
        at_rest: whether the total momentum stays zero (`sfm.simulate.dynamics.motion.freedom`).

    Raises:
        InputError: a type that is no element.
    """
    system, free = system_of(samples), free_of(samples)
    masses = masses_of(samples).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    velocities = thermal_velocities(masses, system, temperature, generator, free, at_rest=at_rest)
    for index, one in enumerate(samples):
        if one.velocities is not None:
            stated = torch.from_numpy(one.velocities).to(dtype)
            velocities[system == index] = stated * free[system == index]
    positions = torch.from_numpy(np.concatenate([s.positions for s in samples])).to(dtype)
    cells = [np.zeros((3, 3)) if s.cell is None else np.asarray(s.cell) for s in samples]
    count = len(samples)
    return Particles(
        positions,
        velocities,
        torch.from_numpy(np.concatenate([one.types for one in samples])),
        masses,
        system,
        torch.zeros((), dtype=torch.long),
        torch.zeros((), dtype=dtype),
        torch.tensor([one.conditions.get("charge", 0.0) for one in samples]).to(dtype),
        torch.tensor([one.conditions.get("spin", 0.0) for one in samples]).to(dtype),
        free,
        torch.from_numpy(np.stack(cells)).to(dtype),
        torch.zeros(count, 2, CHAIN, dtype=dtype),
        torch.zeros(count, dtype=dtype),
        positions.clone(),
    )
