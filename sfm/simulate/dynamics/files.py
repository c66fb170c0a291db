"""Trajectories of atoms to files, through ase."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfm.data.ase_atoms import write_to
from sfm.data.sample import Sample
from sfm.simulate.base import Trajectory
from sfm.simulate.dynamics.particles import Particles

SUFFIXES = (".extxyz", ".xyz")


def write_trajectory(trajectory: Trajectory, path: Path, *, domain: str) -> None:
    """One frame per recorded state (and system), with time, energy, forces, velocities, and cell.

    Positions are not wrapped into the cell. Charge, spin, fixed coordinates, and masses other than
    the elements' are written, too.

    Args:
        trajectory: of `Particles`, with energies in eV and forces in eV/angstrom.
        path: of an extended xyz file.
        domain: of the atoms.
    """
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.data import atomic_masses
    from ase.io import write

    frames = []
    seen = {k: trajectory.observables[k].detach().cpu().numpy() for k in ("energy", "forces")}
    for k, state in enumerate(trajectory.states):
        system = state.system.cpu().numpy()
        for s, cell in enumerate(state.cell.detach().cpu().numpy()):
            mine = system == s
            types = state.types.cpu().numpy()[mine]
            masses = state.masses.detach().cpu().double().numpy()[mine, 0]
            usual = np.allclose(masses, atomic_masses[types], rtol=1e-6)
            stated = {name: float(value[s]) for name, value in state.conditions.items()}
            fixed = ~state.free.cpu().numpy()[mine]
            sample = Sample(
                id=f"{k}-{s}",
                domain=domain,
                positions=state.positions.detach().cpu().numpy()[mine],
                types=types,
                conditions={name: value for name, value in stated.items() if value},
                masses=None if usual else masses,
                fixed=fixed if fixed.any() else None,
                velocities=state.velocities.detach().cpu().numpy()[mine],
            )
            sample = _with_bonds(sample, state, s)
            time = {"time": float(trajectory.times[k]), "system": s}
            atoms = Atoms(types, sample.positions, cell=cell, pbc=cell.any(), info=time)
            write_to(atoms, sample)
            atoms.calc = SinglePointCalculator(
                atoms, energy=float(seen["energy"][k][s]), forces=seen["forces"][k][mine]
            )
            frames.append(atoms)
    # what extended XYZ has no constraint for stands among the keys
    write(str(path), frames, format="extxyz")


def _with_bonds(sample: Sample, state: Particles, s: int) -> Sample:
    """The sample of system s with the bonds that keep their lengths."""
    pairs = state.rigid_pairs.cpu().numpy()
    mine = state.system.cpu().numpy()[pairs[:, 0]] == s
    if not mine.any():
        return sample
    first = int((state.system < s).sum())
    lengths = state.rigid_lengths.detach().cpu().numpy()[mine]
    return sample.replace(rigid_pairs=pairs[mine] - first, rigid_lengths=lengths)
