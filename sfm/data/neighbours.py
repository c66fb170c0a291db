"""Neighbour lists, periodic and open, through vesin."""

from __future__ import annotations

import numpy as np


def neighbour_list(
    positions: np.ndarray,
    cutoff: float,
    cell: np.ndarray | None = None,
    pbc: np.ndarray | tuple[bool, bool, bool] | bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """All ordered pairs closer than `cutoff`, images included, no self-pairs.

    Args:
        positions: (n, 3), any length unit.
        cutoff: in the same unit.
        cell: (3, 3), rows are lattice vectors; needed along periodic directions.
        pbc: periodic along each lattice vector.

    Returns:
        edges: (2, E) int64, `[sender, receiver]`, sorted by receiver, then sender, then shift.
        shifts: (E, 3) int64; the sender's image is at `positions[sender] + shifts @ cell`.
    """
    import vesin

    positions = np.ascontiguousarray(positions, dtype=np.float64)
    if len(positions) == 0:
        return np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3), dtype=np.int64)
    pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    box = np.zeros((3, 3)) if cell is None else np.ascontiguousarray(cell, dtype=np.float64)
    finder = vesin.NeighborList(cutoff=float(cutoff), full_list=True)
    i, j, shift = finder.compute(
        points=positions, box=box, periodic=pbc.copy() if pbc.any() else False, quantities="ijS"
    )
    # vesin: r_ij = x_j - x_i + S @ box; i receives from j
    receiver, sender = np.asarray(i, dtype=np.int64), np.asarray(j, dtype=np.int64)
    shift = np.asarray(shift, dtype=np.int64).reshape(-1, 3)
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], sender, receiver))
    return np.stack([sender[order], receiver[order]]), shift[order]
