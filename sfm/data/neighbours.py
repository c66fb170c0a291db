"""Neighbour lists, periodic and open, through vesin."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from sfm.errors import InputError

MAX_PAIRS = 10**8  # about 5 GB of indices and shifts
MAX_IMAGES = 10**5
MAX_CELLS = 10**8  # cutoffs along a lattice vector; vesin dies of SIGFPE beyond 2^31
FAR = 1e9  # beyond this a double has no seven digits left behind the point


def neighbour_list(
    positions: Float[np.ndarray, "n 3"],
    cutoff: float,
    cell: Float[np.ndarray, "3 3"] | None = None,
    pbc: Bool[np.ndarray, " 3"] | tuple[bool, bool, bool] | bool = False,
) -> tuple[Int[np.ndarray, "2 E"], Int[np.ndarray, "E 3"]]:
    """All ordered pairs closer than `cutoff`, images included, no self-pairs.

    Args:
        positions: (n, 3), any length unit.
        cutoff: in the same unit.
        cell: (3, 3), rows are lattice vectors; needed along periodic directions.
        pbc: periodic along each lattice vector.

    Returns:
        edges: (2, E) int64, `[sender, receiver]`, sorted by receiver, then sender, then shift.
        shifts: (E, 3) int64; the sender's image is at `positions[sender] + shifts @ cell`.

    Raises:
        InputError: coordinates beyond `FAR`, or more pairs than `MAX_PAIRS`.
    """
    receiver, sender, shift = _search(positions, cutoff, cell, pbc, full=True)
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], sender, receiver))
    return np.stack([sender[order], receiver[order]]), shift[order]


def half_neighbour_list(
    positions: Float[np.ndarray, "n 3"],
    cutoff: float,
    cell: Float[np.ndarray, "3 3"] | None = None,
    pbc: Bool[np.ndarray, " 3"] | tuple[bool, bool, bool] | bool = False,
) -> tuple[Int[np.ndarray, "2 P"], Int[np.ndarray, "P 3"]]:
    """All pairs closer than `cutoff`, images included, each once, no self-pairs.

    Arguments, units and errors are those of `neighbour_list`.

    Returns:
        pairs: (2, P) int64, `[first, second]`, first <= second, sorted by second - first, then
            first, then shift, so that pairs in a row are of different atoms and sums over them
            need not wait for each other; of an atom with its own images, one of each two opposite
            ones.
        shifts: (P, 3) int64; the second's image is at `positions[second] + shifts @ cell`.
    """
    first, second, shift = _search(positions, cutoff, cell, pbc, full=False)
    swap = first > second
    alone = np.flatnonzero(first == second)  # images of one atom: few
    x, y, z = shift[alone].T
    swap[alone] = (x < 0) | ((x == 0) & ((y < 0) | ((y == 0) & (z < 0))))
    shift *= (1 - 2 * swap.astype(np.int64))[:, None]  # faster than shift[swap] *= -1
    first, second = np.minimum(first, second), np.maximum(first, second)
    order = _order(first, second, shift, len(positions))
    return np.stack([first[order], second[order]]), shift[order]


def _order(first: np.ndarray, second: np.ndarray, shift: np.ndarray, n: int) -> np.ndarray:
    """Indices that sort as `half_neighbour_list` says: by one number, where it fits (fast)."""
    away = second - first
    least = int(shift.min(initial=0))
    span = int(shift.max(initial=0)) - least + 1
    if n**2 * span**3 >= 2**62:
        return np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], first, away))
    key = away * n + first
    for axis in range(3):
        key *= span
        key += shift[:, axis]
    return np.argsort(key)


def _search(
    positions: np.ndarray,
    cutoff: float,
    cell: np.ndarray | None,
    pbc: np.ndarray | tuple[bool, bool, bool] | bool,
    *,
    full: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two atoms and the second's shift of every pair, in no order; see `neighbour_list`."""
    import vesin

    positions = np.ascontiguousarray(positions, dtype=np.float64)
    if len(positions) == 0:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros((0, 3), dtype=np.int64)
    pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    box = np.zeros((3, 3)) if cell is None else np.ascontiguousarray(cell, dtype=np.float64)
    far = float(np.abs(positions).max())
    if not far < FAR:
        raise InputError(f"an atom lies {far:.3g} from the origin: wrap the coordinates")
    positions = _without_gaps(positions, cutoff, box[pbc])
    _refuse(positions, cutoff, box, pbc)
    finder = vesin.NeighborList(cutoff=float(cutoff), full_list=full)
    i, j, shift = finder.compute(
        points=positions, box=box, periodic=pbc.copy() if pbc.any() else False, quantities="ijS"
    )
    # vesin: r_ij = x_j - x_i + S @ box; i receives from j
    first, second = np.asarray(i, dtype=np.int64), np.asarray(j, dtype=np.int64)
    return first, second, np.array(shift, dtype=np.int64).reshape(-1, 3)


def _without_gaps(positions: np.ndarray, cutoff: float, periodic: np.ndarray) -> np.ndarray:
    """Every empty slab along an open direction, if wider than two cutoffs, narrowed to that.

    No pair within the cutoff lies across such a slab, and none comes within it. vesin (0.6) divides
    the bounding box into cells of a cutoff and dies of SIGFPE when their number overflows, two
    atoms 1e6 angstrom apart.
    """
    if len(periodic) == 3 or np.ptp(positions, axis=0).max() < 1e3 * cutoff:
        return positions
    # the last right singular vectors span what is orthogonal to the periodic lattice vectors
    open_axes = np.linalg.svd(periodic)[2][len(periodic) :] if len(periodic) else np.eye(3)
    narrow = positions.copy()
    for axis in open_axes:
        along = positions @ axis
        order = np.argsort(along, kind="stable")
        gaps = np.diff(along[order])
        surplus = np.cumsum(np.where(gaps > 2 * cutoff, gaps - 2 * cutoff, 0.0))
        narrow[order[1:]] -= surplus[:, None] * axis
    return narrow


def _refuse(positions: np.ndarray, cutoff: float, box: np.ndarray, pbc: np.ndarray) -> None:
    """What the search could not finish, in memory or at all."""
    wrapped = positions
    if pbc.any():
        full = box + np.diag(~box.any(1) & ~pbc).astype(np.float64)
        volume = abs(float(np.linalg.det(full)))
        if not volume > 0:
            return  # the sample's own check names it
        heights = volume / np.linalg.norm(np.cross(full[[1, 2, 0]], full[[2, 0, 1]]), axis=1)
        if heights.max() > MAX_CELLS * cutoff:
            raise InputError(f"the cell is {heights.max():.3g} thick, for a cutoff of {cutoff:g}")
        images = float(np.prod(1 + 2 * np.floor(cutoff / heights[pbc])))
        if images > MAX_IMAGES:
            raise InputError(
                f"the cell is {heights[pbc].min():.3g} thin, so the cutoff of {cutoff:g} reaches "
                f"{images:.2g} images of it"
            )
        fractional = positions @ np.linalg.inv(full)
        wrapped = (fractional - np.floor(fractional) * pbc) @ full
        if pbc.all():
            _limit(len(positions) ** 2 * 4.19 * cutoff**3 / volume, cutoff)
    # all atoms of a cube with the diagonal `cutoff` are neighbours of one another
    cubes = np.floor((wrapped - wrapped.min(0)) * (np.sqrt(3) / cutoff)).astype(np.int64)
    _, counts = np.unique(cubes, axis=0, return_counts=True)
    _limit(float((counts.astype(np.float64) ** 2).sum()), cutoff)


def _limit(pairs: float, cutoff: float) -> None:
    if pairs > MAX_PAIRS:
        raise InputError(
            f"about {pairs:.2g} pairs of atoms lie within {cutoff:g} of each other: "
            "are the positions in another unit?"
        )
