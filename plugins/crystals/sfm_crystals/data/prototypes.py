"""Well-known crystal structures as samples."""

from __future__ import annotations

import numpy as np

from sfm.data.rigid import nearest_shifts
from sfm.data.sample import Sample

FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
HALF = np.array([0.5, 0, 0])
FCC_PRIMITIVE = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def _sample(name: str, z: int, fractional: np.ndarray, cell: np.ndarray) -> Sample:
    return Sample(
        id=name,
        domain="crystals",
        positions=fractional @ cell,
        types=np.full(len(fractional), z),
        cell=cell,
        pbc=np.ones(3, dtype=bool),
    )


def fcc(z: int, a: float, *, primitive: bool = False) -> Sample:
    """Face-centred cubic, lattice constant `a` in angstrom; 4 atoms, or 1 if primitive."""
    if primitive:
        return _sample("fcc", z, np.zeros((1, 3)), a * FCC_PRIMITIVE)
    return _sample("fcc", z, FCC, a * np.eye(3))


def diamond(z: int, a: float, *, primitive: bool = False) -> Sample:
    """Diamond, lattice constant `a` in angstrom; 8 atoms, or 2 if primitive."""
    if primitive:
        return _sample("diamond", z, np.array([[0.0] * 3, [0.25] * 3]), a * FCC_PRIMITIVE)
    return _sample("diamond", z, np.concatenate([FCC, FCC + 0.25]), a * np.eye(3))


def rock_salt(first: int, second: int, a: float) -> Sample:
    """Rock salt of two elements, lattice constant `a` in angstrom; 8 atoms."""
    sample = _sample("rock salt", first, np.concatenate([FCC, FCC + HALF]), a * np.eye(3))
    return sample.replace(types=np.repeat([first, second], 4))


def repeated(sample: Sample, times: int) -> Sample:
    """`times` copies of the cell along each lattice vector, with what belongs to its atoms."""
    if times == 1 or sample.cell is None:
        return sample
    steps = np.stack(np.meshgrid(*[np.arange(times)] * 3, indexing="ij"), -1).reshape(-1, 3)
    shifts = steps @ sample.cell
    count = len(steps)

    def tiled(rows: np.ndarray | None) -> np.ndarray | None:
        return None if rows is None else np.tile(rows, (count, *[1] * (rows.ndim - 1)))

    return sample.replace(
        positions=(sample.positions[None] + shifts[:, None]).reshape(-1, 3),
        types=np.tile(sample.types, count),
        cell=times * np.asarray(sample.cell),
        masses=tiled(sample.masses),
        fixed=tiled(sample.fixed),
        velocities=tiled(sample.velocities),
        rigid_pairs=_repeated_bonds(sample, times, steps),
        rigid_lengths=tiled(sample.rigid_lengths),
        conditions={
            k: v * count if k in ("charge", "spin") else v for k, v in sample.conditions.items()
        },
        labels={},
    )


def _repeated_bonds(sample: Sample, times: int, steps: np.ndarray) -> np.ndarray | None:
    """Pairs of each copy, at `steps` (C, 3), of bonds that keep their lengths; some lead over."""
    if sample.rigid_pairs is None:
        return None
    pairs, count = sample.rigid_pairs, len(sample.types)
    shifts = nearest_shifts(sample.positions, pairs, sample.cell, sample.pbc).astype(np.int64)
    place = (steps[:, None] + shifts[None]) % times  # (C, M, 3), of the second atom's copy
    copy = (place * np.array([times**2, times, 1])).sum(-1)
    first = pairs[:, 0] + count * np.arange(len(steps))[:, None]
    return np.stack([first, pairs[:, 1] + count * copy], -1).reshape(-1, 2)
