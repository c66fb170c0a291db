"""Two rigid molecules at a stated gap between their surfaces, in a random orientation.

Van der Waals radii: S. Alvarez, Dalton Trans. 42, 8617 (2013). The gap is the smallest distance of
an atom of the one from an atom of the other less their two radii: 0 in contact, below it towards
the repulsive wall (a hydrogen bond of water has -0.8 angstrom).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation


def random_turn(generator: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A rotation drawn evenly from all: a quaternion of four normal numbers. (3, 3), no unit.

    K. Shoemake, Uniform random rotations, Graphics Gems III (1992).
    """
    turn = Rotation.from_quat(generator.standard_normal(4), scalar_first=True)
    return np.asarray(turn.as_matrix())


def gap_between(
    first: Float[np.ndarray, "n 3"],
    second: Float[np.ndarray, "m 3"],
    reach: Float[np.ndarray, "n m"],
) -> float:
    """Angstrom: the smallest distance less `reach`.

    first, second: (n, 3), (m, 3) angstrom. reach: (n, m) angstrom, sums of radii.
    """
    distance = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return float((distance - reach).min())


def apart(
    first: Float[np.ndarray, "n 3"],
    second: Float[np.ndarray, "m 3"],
    reach: Float[np.ndarray, "n m"],
    direction: Float[np.ndarray, " 3"],
    gap: float,
) -> Float[np.ndarray, "m 3"]:
    """(m, 3) angstrom: `second` moved along `direction` until the surfaces are `gap` apart.

    Along the line the pair d apart is at the distance s = gap + reach where |d + t u| = s. The
    furthest of these t is that of the first touch from outside. Where nothing touches (a small one
    on the axis of a ring) the means coincide.

    Args:
        first, second: (n, 3), (m, 3) angstrom.
        reach: (n, m) angstrom, sums of radii; all larger than -`gap`.
        direction: (3,) of length 1.
        gap: angstrom.
    """
    start = second - second.mean(0) + first.mean(0)
    between = start[None] - first[:, None]
    along = between @ direction
    inside = (reach + gap) ** 2 - (between**2).sum(-1) + along**2
    touches = np.where(inside > 0, np.sqrt(inside.clip(0)) - along, -np.inf)
    shift = float(touches.max())
    return np.asarray(start + (shift if np.isfinite(shift) else 0.0) * direction)


def radii(types: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """(n,) van der Waals radii in angstrom of atomic numbers, as rdkit has them."""
    from rdkit import Chem

    table = Chem.GetPeriodicTable()
    return np.array([table.GetRvdw(int(z)) for z in types])
