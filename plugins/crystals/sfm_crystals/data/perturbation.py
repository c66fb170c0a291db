"""Rattled and strained copies of relaxed crystals: functions of (seed, crystal, copy) only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sfm.data.neighbours import neighbour_list
from sfm_crystals.data import moduli
from sfm_crystals.data.materials_project import Crystal

CLOSEST = 0.65  # smallest allowed distance, in sums of covalent radii
LARGEST = 16  # atoms of a parent


@dataclass(frozen=True, eq=False)
class Configuration:
    """A perturbed cell; `positions` and `cell` hold what is stored, so that labels fit it."""

    id: str
    formula: str
    types: np.ndarray
    positions: np.ndarray
    cell: np.ndarray


Parent = Crystal | Configuration


def generator(seed: int, name: str) -> np.random.Generator:
    """A stream of random numbers that depends on nothing but the seed and the name."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def perturb(crystal: Parent, copy: int, seed: int) -> Configuration:
    """x' = (x + rattle) (1 + strain), with its scales drawn per copy.

    Volume strain uniform in [-0.06, 0.06], symmetric shear strains normal with standard deviation
    up to 0.03, rattle normal with standard deviation up to 0.15 angstrom per component; every
    eighth copy is left unrattled, so that the relaxed basin is well sampled. A draw that brings two
    atoms closer than `CLOSEST` times the sum of their covalent radii (or 90% of the relaxed
    crystal's own closest approach, if that is smaller) is drawn again, milder.
    """
    rng = generator(seed, f"{crystal.id}/{copy}")
    milder = 1.0
    while True:
        shear = rng.normal(0.0, rng.uniform(0.0, 0.03) * milder, (3, 3))
        strain = (shear + shear.T) / 2
        strain += np.eye(3) * (rng.uniform(-0.06, 0.06) * milder - np.trace(strain)) / 3
        width = 0.0 if rng.random() < 0.125 else rng.uniform(0.01, 0.15) * milder
        deformation = np.eye(3) + strain
        moved = (crystal.positions + rng.normal(0.0, width, crystal.positions.shape)) @ deformation
        positions = moved.astype(np.float32).astype(np.float64)
        # a teacher in float32 sees no more of the cell either
        cell = (crystal.cell @ deformation).astype(np.float32).astype(np.float64)
        if closest_approach(crystal.types, positions, cell) > _limit(crystal):
            return Configuration(
                f"{crystal.id}/{copy}", crystal.formula, crystal.types, positions, cell
            )
        milder *= 0.8


def strained(crystal: Crystal) -> list[Configuration]:
    """A larger and a smaller copy, `mp-10/+` and `mp-10/-`; atoms move along."""
    copies = []
    for name, strain in moduli.STRAINS.items():
        positions = (crystal.positions * (1 + strain)).astype(np.float32).astype(np.float64)
        cell = crystal.cell * (1 + strain)
        copies.append(
            Configuration(f"{crystal.id}/{name}", crystal.formula, crystal.types, positions, cell)
        )
    return copies


def closest_approach(
    types: Int[np.ndarray, " N"],
    positions: Float[np.ndarray, "N 3"],
    cell: Float[np.ndarray, "3 3"],
) -> float:
    """Smallest distance of two atoms in sums of their covalent radii; 2 if all are far apart.

    types: (N,) atomic numbers. positions: (N, 3) angstrom. cell: (3, 3) angstrom, vectors as rows.
    """
    from ase.data import covalent_radii

    edges, shifts = neighbour_list(positions, 5.0, cell, True)
    vectors = positions[edges[0]] - positions[edges[1]] + shifts @ cell
    reduced = np.linalg.norm(vectors, axis=1) / covalent_radii[types[edges]].sum(axis=0)
    return float(reduced.min(initial=2.0))


def _limit(crystal: Parent) -> float:
    return min(CLOSEST, 0.9 * closest_approach(crystal.types, crystal.positions, crystal.cell))


def configurations(
    crystals: Sequence[Parent], size: int, seed: int, max_atoms: int = LARGEST
) -> list[Configuration]:
    """`size` perturbed cells of the crystals with up to `max_atoms` atoms.

    Every crystal is taken once, in an order drawn from the seed, before any is taken again.
    """
    small = [c for c in crystals if len(c.types) <= max_atoms]
    order = generator(seed, "order").permutation(len(small))
    picks = [(small[order[i % len(small)]], i // len(small)) for i in range(size)]
    return [perturb(crystal, copy, seed) for crystal, copy in picks]
