"""The state of a molecular-dynamics simulator, and how samples become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.data.rigid import nearest_shifts
from sfm.data.sample import Sample
from sfm.data.systems import Systems
from sfm.data.tokens import system_sum
from sfm.errors import InputError
from sfm.simulate.dynamics.motion import CHAIN, freedom, kinetic_energy, thermal_velocities
from sfm.simulate.dynamics.rigid import Rigid


class Particles(NamedTuple):
    """A batch of S systems of moving atoms, N in all, stored one after another.

    positions (N, 3) angstrom, not wrapped; velocities (N, 3) angstrom/fs; types (N,) atomic
    numbers; masses (N, 1) amu; system (N,) index of each atom's system; step, the number of steps
    done; time in fs; charge (S,) e; spin (S,) number of unpaired electrons; free (N, 3), whether a
    coordinate may change; cell (S, 3, 3) angstrom, rows are lattice vectors, zero for open
    boundaries; chain (S, 2, M) of a Nose-Hoover thermostat; heat (S,) eV that other thermostats
    gave; start (N, 3), positions at step 0; rigid_pairs (M, 2), particles whose distance is kept,
    with the second's image rigid_shifts (M, 3), in lattice vectors, and that distance,
    rigid_lengths (M,) angstrom.
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
    rigid_pairs: Tensor
    rigid_shifts: Tensor
    rigid_lengths: Tensor

    @property
    def conditions(self) -> dict[str, Float[Tensor, " S"]]:
        """What an energy may depend on besides elements and places, (S,) each."""
        return {"charge": self.charge, "spin": self.spin}

    @property
    def systems(self) -> Systems:
        """What an energy depends on."""
        return Systems(self.positions, self.cell, self.types, self.system, self.conditions)

    @property
    def rigid(self) -> Rigid | None:
        """The bonds that keep their lengths; None where there are none."""
        bonds = (self.rigid_pairs, self.rigid_shifts, self.rigid_lengths)
        return Rigid.of(*bonds, self.system, self.free)


def system_of(samples: Sequence[Sample]) -> Int[Tensor, " N"]:
    """(N,) index of each atom's sample."""
    counts = torch.tensor([len(one.types) for one in samples])
    return torch.repeat_interleave(torch.arange(len(samples)), counts)


def free_of(samples: Sequence[Sample]) -> Bool[Tensor, "N 3"]:
    """(N, 3) false for coordinates (angstrom) that are fixed, true elsewhere."""
    rows = [np.ones((len(s.types), 3), bool) if s.fixed is None else ~s.fixed for s in samples]
    return torch.from_numpy(np.concatenate(rows))


def masses_of(samples: Sequence[Sample]) -> Float[Tensor, "N 1"]:
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
        InputError: a type that is no element, or bonds to be kept that are not independent.
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
    pairs, shifts, lengths = _bonds(samples)
    state = Particles(
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
        pairs,
        shifts.to(dtype),
        lengths.to(dtype),
    )
    thermal = [one.velocities is None for one in samples]
    return _constrained(state, thermal, at_rest=at_rest)


def _bonds(samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
    """Bonds that keep their lengths: (M, 2) pairs, (M, 3) lattice vectors, (M,) angstrom."""
    pairs, shifts, lengths, offset = [], [], [], 0
    for one in samples:
        if one.rigid_pairs is not None and one.rigid_lengths is not None:
            pairs.append(one.rigid_pairs + offset)
            shifts.append(nearest_shifts(one.positions, one.rigid_pairs, one.cell, one.pbc))
            lengths.append(one.rigid_lengths)
        offset += len(one.types)
    if not pairs:
        return torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, 3), torch.zeros(0)
    return (
        torch.from_numpy(np.concatenate(pairs)),
        torch.from_numpy(np.concatenate(shifts)),
        torch.from_numpy(np.concatenate(lengths)),
    )


def _constrained(state: Particles, thermal: Sequence[bool], *, at_rest: bool) -> Particles:
    """With bonds at their lengths and no velocity along them; thermal velocities (flags (S,)) keep
    the kinetic energy of a degree of freedom."""
    rigid = state.rigid
    if rigid is None:
        return state
    mobility = state.free / state.masses
    rigid.check(state.positions, mobility, state.cell)
    along = rigid.bonds(state.positions, state.cell)
    positions = state.positions + rigid.onto(state.positions, along, mobility, state.cell)
    velocities = rigid.tangent(state.velocities, positions, mobility, state.cell)
    count, system = len(state.cell), state.system
    before = system_sum(kinetic_energy(state.velocities, state.masses), system, count)
    after = system_sum(kinetic_energy(velocities, state.masses), system, count)
    all_free = freedom(system, state.free, at_rest=at_rest)
    share = (all_free - rigid.counts.to(all_free)).clamp_min(0.0) / all_free
    scale = torch.where(after > 0, (before * share.to(after) / after).sqrt(), 1.0)
    scale = torch.where(torch.tensor(thermal), scale, 1.0)
    return state._replace(
        positions=positions, velocities=velocities * scale[system].unsqueeze(1), start=positions
    )
