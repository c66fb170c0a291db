"""A pair potential fitted to forces, and the stress that follows from it.

Force matching (F. Ercolessi and J. B. Adams, Europhys. Lett. 26, 583 (1994)) with Gaussians of the
distance for each pair of elements; the problem is linear. It is no good potential, but forces on
rattled atoms come from bonds that are stretched, and so does the anisotropic part of the stress:
its sign, its unit and the order of its components can be told from forces alone, at any strain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sfm.data.neighbours import neighbour_list
from sfm.data.sample import Sample

CUTOFF = 6.0  # angstrom
CENTRES = 10
RIDGE = 1e-6
MOST_ATOMS = 64
MOST_UNKNOWNS = 400


def stress_from_forces(samples: Sequence[Sample]) -> Float[np.ndarray, "S 3 3"] | None:
    """(S, 3, 3) stress of the pair potential that fits the samples' forces best.

    In the forces' unit times angstrom^-2. None where the fit has too many unknowns or explains
    less than half of the forces.

    Args:
        samples: periodic in three directions, with the label `forces`.
    """
    elements = sorted({int(z) for s in samples for z in s.types})
    pairs = {(a, b): k for k, (a, b) in enumerate(
        (a, b) for i, a in enumerate(elements) for b in elements[i:]
    )}  # fmt: skip
    rows = sum(3 * len(s.types) for s in samples)
    unknowns = len(pairs) * CENTRES
    if unknowns > min(MOST_UNKNOWNS, rows // 2) or any(len(s.types) > MOST_ATOMS for s in samples):
        return None
    forces, stresses = [], []
    for sample in samples:
        force, stress = _design(sample, pairs)
        forces.append(force.reshape(-1, unknowns))
        stresses.append(stress)
    a = np.concatenate(forces)
    y = np.concatenate([np.asarray(s.labels["forces"], dtype=np.float64).ravel() for s in samples])
    scale = np.sqrt((a**2).mean(0)) + 1e-12
    normal = (a / scale).T @ (a / scale)
    normal[np.diag_indices_from(normal)] += RIDGE * len(y)
    solution = np.linalg.solve(normal, (a / scale).T @ y) / scale
    if ((y - a @ solution) ** 2).sum() > 0.5 * (y**2).sum():
        return None
    return np.stack([s @ solution for s in stresses])


def _design(sample: Sample, pairs: dict[tuple[int, int], int]) -> tuple[np.ndarray, np.ndarray]:
    """Forces (n, 3, unknowns) and stress (3, 3, unknowns) of each function of distance."""
    assert sample.cell is not None
    edges, shifts = neighbour_list(sample.positions, CUTOFF, sample.cell, sample.pbc)
    vectors = sample.positions[edges[0]] + shifts @ sample.cell - sample.positions[edges[1]]
    r = np.linalg.norm(vectors, axis=1)
    centres = np.linspace(0.5, CUTOFF, CENTRES)
    width = centres[1] - centres[0]
    x = (r[:, None] - centres) / width
    bell, fade = np.exp(-0.5 * x**2), (1 - r / CUTOFF)[:, None]
    slope = bell * (-x / width * fade**2 - 2 * fade / CUTOFF)  # d(bell * fade^2)/dr
    kind = np.array([pairs[min(a, b), max(a, b)] for a, b in sample.types[edges.T]], dtype=int)
    n, unknowns = len(sample.types), len(pairs) * CENTRES
    column = kind[:, None] * CENTRES + np.arange(CENTRES)
    unit = vectors / r[:, None]
    force = np.zeros((n, 3, unknowns))
    receiver = np.broadcast_to(edges[1][:, None], column.shape)
    for axis in range(3):  # each pair comes twice: once at either atom
        np.add.at(force[:, axis], (receiver, column), slope * unit[:, axis, None])
    stress = np.zeros((3, 3, unknowns))
    volume = abs(float(np.linalg.det(sample.cell)))
    for i in range(3):
        for j in range(3):
            term = slope * (unit[:, i] * vectors[:, j])[:, None] / (2 * volume)
            np.add.at(stress[i, j], column, term)
    return force, stress
