"""Trajectories of periodic cells to files, through ase."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sfm.data.sample import Sample
from sfm.simulate.base import Trajectory
from sfm_crystals.data.converters import to_ase


def write_trajectory(trajectory: Trajectory, path: Path) -> None:
    """One frame per recorded state (and system), with time, cell, energy, forces and velocities.

    Positions are not wrapped into the cell. Charge, spin, fixed coordinates, and masses other than
    the elements' are written, too.
    """
    from ase.data import atomic_masses
    from ase.io import write

    frames = []
    seen = trajectory.observables
    for k, state in enumerate(trajectory.states):
        system = state.system.cpu().numpy()
        for s, cell in enumerate(state.cell.detach().cpu().numpy()):
            mine = system == s
            types = state.types.cpu().numpy()[mine]
            masses = state.masses.detach().cpu().double().numpy()[mine, 0]
            usual = np.allclose(masses, atomic_masses[types], rtol=1e-6)
            stated = {name: float(value[s]) for name, value in state.conditions.items()}
            fixed = ~state.free.cpu().numpy()[mine]
            pbc = np.ones(3, dtype=bool)
            sample = Sample(
                id=f"{k}-{s}",
                domain="crystals",
                positions=state.positions.detach().cpu().numpy()[mine],
                types=types,
                cell=cell,
                pbc=pbc,
                conditions={name: value for name, value in stated.items() if value},
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
            atoms.info.pop("id", None)
            frames.append(atoms)
    write(str(path), frames, format="extxyz")
