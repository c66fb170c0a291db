"""Relaxing many crystals, atoms and cell, on the same Lennard-Jones energy: all at once by
`crystals/lattice`, and one after another by ASE (BFGS in its Frechet cell filter)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 3.0  # eV, angstrom, sigma
ONSET = 0.66  # of the cutoff, where both switch off as X-PLOR does
TOLERANCE = 1e-4  # eV/angstrom
SHOWN = 20  # crystals that the loop is measured on


class Crystal(NamedTuple):
    """Positions (N, 3) and cell (3, 3), angstrom."""

    positions: np.ndarray
    cell: np.ndarray


def crystals(count: int) -> list[Crystal]:
    """Face-centred cubic cells of four atoms, each strained and rattled in its own way."""
    rng = np.random.default_rng(0)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    crystals = []
    for _ in range(count):
        strain = rng.uniform(-0.04, 0.04, (3, 3))
        cell = 5.3 * (np.eye(3) + (strain + strain.T) / 2)
        crystals.append(Crystal(basis @ cell + rng.normal(0, 0.08, (4, 3)), cell))
    return crystals


class Batch:
    """One relaxation of all cells."""

    packages = ("sfm-hub", "torch")

    def relax(self, given: list[Crystal]) -> list[float]:
        """Volumes, angstrom^3."""
        import torch
        from sfm_crystals.simulators.lattice import LatticeStatics

        from sfm.data.sample import Sample

        simulator = LatticeStatics(
            epsilon=EPSILON, sigma=SIGMA, cutoff=CUTOFF, switch="xplor", tolerance=TOLERANCE
        )
        samples = [
            Sample(
                id=str(k),
                domain="crystals",
                positions=one.positions,
                types=[18] * 4,
                cell=one.cell,
                pbc=True,
            )
            for k, one in enumerate(given)
        ]
        with torch.no_grad():
            volumes: list[float] = simulator.relax(simulator.batch(samples)).volume().tolist()
        return volumes


class Loop:
    """One cell after another."""

    packages = ("ase",)

    def relax(self, given: list[Crystal]) -> list[float]:
        """Volumes, angstrom^3."""
        from ase import Atoms
        from ase.calculators.lj import LennardJones
        from ase.filters import FrechetCellFilter
        from ase.optimize import BFGS

        reach, volumes = CUTOFF * SIGMA, []
        for one in given:
            atoms = Atoms("Ar4", one.positions, cell=one.cell, pbc=True)
            atoms.calc = LennardJones(
                epsilon=EPSILON, sigma=SIGMA, rc=reach, ro=ONSET * reach, smooth=True
            )
            BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=TOLERANCE, steps=2000)
            volumes.append(float(atoms.get_volume()))
        return volumes


ENGINES: dict[str, type] = {"relax batch": Batch, "relax loop": Loop}
