"""What needs no network: the average block of a pair of elements at a distance.

In the frame of its bond a block has ten numbers that a rotation about the bond leaves alone (Slater
and Koster): four s-s, two s-p, two p-s, and sigma and pi of p-p. Their average over a training set,
weighted by exp(-(r - r')^2 / 2 w^2), gives a table for each pair of elements; an atom with itself
has distance 0 and keeps s-s and the trace of p-p.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sfm_dft.fock.basis import WIDTH, to_blocks, to_matrix

SPREAD = 0.03  # angstrom: thermal displacements in the data are of this size


class DistanceAverage:
    """Average blocks by elements and distance.

    Args:
        examples: types (A,), positions (A, 3) in angstrom and a matrix (n, n) of each molecule.
    """

    def __init__(self, examples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        pairs: dict[tuple[int, int], list[tuple[float, np.ndarray]]] = defaultdict(list)
        for types, positions, matrix in examples:
            blocks = to_blocks(matrix, types)
            for i, j in np.ndindex(len(types), len(types)):
                edge = positions[j] - positions[i]
                key = (int(types[i]), int(types[j]))
                length = float(np.linalg.norm(edge))
                if i == j:
                    key = (key[0], 0)
                pairs[key].append((length, invariants(blocks[i, j], edge)))
        self.tables = {
            key: (np.array([r for r, _ in rows]), np.stack([v for _, v in rows]))
            for key, rows in pairs.items()
        }

    def matrix(
        self, types: Int[np.ndarray, " A"], positions: Float[np.ndarray, "A 3"]
    ) -> Float[np.ndarray, "n n"]:
        """(n, n); blocks of elements that the examples lack are zero."""
        atoms = len(types)
        blocks = np.zeros((atoms, atoms, WIDTH, WIDTH))
        for i, j in np.ndindex(atoms, atoms):
            edge = positions[j] - positions[i]
            table = self.tables.get((int(types[i]), 0 if i == j else int(types[j])))
            if table is not None:
                lengths, values = table
                distance = 0.5 * ((lengths - np.linalg.norm(edge)) / SPREAD) ** 2
                weights = np.exp(distance.min() - distance)  # far from all: the nearest
                blocks[i, j] = block(weights @ values / weights.sum(), edge)
        return to_matrix(blocks, types)


def invariants(
    values: Float[np.ndarray, "5 5"], edge: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " 10"]:
    """(5, 5) -> (10,): s-s, s-p and p-s along the edge, p-p sigma and pi."""
    n = _direction(edge)
    square = values[2:, 2:]
    sigma = n @ square @ n if n.any() else np.trace(square) / 3.0
    pi = 0.5 * (np.trace(square) - sigma)
    return np.concatenate(
        [values[:2, :2].ravel(), values[:2, 2:] @ n, n @ values[2:, :2], [sigma, pi]]
    )


def block(
    numbers: Float[np.ndarray, " 10"], edge: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "5 5"]:
    """(10,) -> (5, 5): the inverse of `invariants` for a block that has no more than these."""
    n = _direction(edge)
    ss, sp, ps, (sigma, pi) = np.split(numbers, [4, 6, 8])
    square = pi * np.eye(3) + (sigma - pi) * np.outer(n, n)
    return np.block([[ss.reshape(2, 2), np.outer(sp, n)], [np.outer(n, ps), square]])


def _direction(edge: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(edge)
    return edge / length if length > 0 else np.zeros(3)
