"""Trajectories to files, through ase."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfm.data.sample import Sample
from sfm.simulate.base import Trajectory
from sfm_molecules.data.converters import to_ase


def write_extxyz(trajectory: Trajectory, path: Path) -> None:
    """One frame per recorded state (and system), with time, energy, forces and velocities.

    Charge, spin, fixed coordinates, and masses other than the elements' are written, too.
    """
    from ase.data import atomic_masses
    from ase.io import write

    frames = []
    seen = trajectory.observables
    for k, state in enumerate(trajectory.states):
        system = state.system.cpu().numpy()
        for s in range(int(system[-1]) + 1):
            mine = system == s
            types = state.types.cpu().numpy()[mine]
            masses = state.masses.detach().cpu().numpy()[mine, 0]
            usual = np.allclose(masses, atomic_masses[types], rtol=1e-6)
            stated = {name: float(value[s]) for name, value in state.conditions.items()}
            conditions = {name: value for name, value in stated.items() if value}
            fixed = state.free.cpu().numpy()[mine] == 0
            sample = Sample(
                id=f"{k}-{s}",
                domain="molecules",
                positions=state.positions.detach().cpu().numpy()[mine],
                types=types,
                conditions=conditions,
                labels={
                    "energy": np.asarray(float(seen["energy"][k][s].detach())),
                    "forces": seen["forces"][k].detach().cpu().numpy()[mine],
                },
                masses=None if usual else masses,
                fixed=fixed if fixed.any() else None,
                velocities=state.velocities.detach().cpu().numpy()[mine],
            )
            atoms = to_ase(sample)
            atoms.info = {"time": float(trajectory.times[k]), "system": s, **atoms.info}
            del atoms.info["id"]
            frames.append(atoms)
    write(str(path), frames, format="extxyz")
