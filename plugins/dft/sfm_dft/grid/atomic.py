"""The quadrature of one atom: Treutler-Ahlrichs radii times Lebedev angles, pruned as in NWChem.

    int f d^3r ~ sum_i r_i^2 dr_i sum_j w_j f(r_i n_j),
    r = -xi / ln 2 (1 + x)^0.6 ln((1 - x) / 2),   x_i = cos(i pi / (n + 1))

Counts of radii and angles by level and period are PySCF's, so that the grids are equal point for
point. Some of Lebedev's rules that NWChem's pruning asks for (74, 230 and 266 points) have negative
weights.

References: Treutler, Ahlrichs, J. Chem. Phys. 102, 346 (1995), map M4; Lebedev, Laikov, Doklady
Mathematics 59, 477 (1999), by SciPy.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float, Int
from scipy.integrate import lebedev_rule

from sfm.errors import InputError
from sfm.units import factor
from sfm_dft.basis.elements import BRAGG_RADII, PERIOD_ENDS, TREUTLER_XI

LEVELS = 10
RADII = (  # by level, then period 1 to 7
    (10, 15, 20, 30, 35, 40, 50),
    (30, 40, 50, 60, 65, 70, 75),
    (40, 60, 65, 75, 80, 85, 90),
    (50, 75, 80, 90, 95, 100, 105),
    (60, 90, 95, 105, 110, 115, 120),
    (70, 105, 110, 120, 125, 130, 135),
    (80, 120, 125, 135, 140, 145, 150),
    (90, 135, 140, 150, 155, 160, 165),
    (100, 150, 155, 165, 170, 175, 180),
    (200, 200, 200, 200, 200, 200, 200),
)
# degree of the polynomials that the angles integrate: first period, second, all others
DEGREES = (
    (11, 15, 17),
    (17, 23, 23),
    (23, 29, 29),
    (29, 29, 35),
    (35, 41, 41),
    (41, 47, 47),
    (47, 53, 53),
    (53, 59, 59),
    (59, 59, 59),
    (65, 65, 65),
)
RULES = (9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 35, 41, 47, 53, 59, 65)
# where fewer angles do, in Bragg radii: H and He, the second period, all others
REGIONS = ((0.25, 0.5, 1.0, 4.5), (0.1667, 0.5, 0.9, 3.5), (0.1, 0.4, 0.8, 2.5))
GROUP = 12  # radii that stay together, so that neighbours in a list are neighbours in space


@cache
def atomic_grid(
    number: int, level: int, prune: bool
) -> tuple[Float[np.ndarray, "G 3"], Float[np.ndarray, " G"]]:
    """Points (G, 3) about a nucleus in bohr and their weights (G,) in bohr^3.

    number: atomic number. level: 0 coarse to 9 fine. prune: fewer angles near the nucleus and far
    from it.

    Raises:
        InputError: an element beyond 103.
    """
    if not 0 < number < len(TREUTLER_XI):
        raise InputError(f"no integration grid for element {number}; grids end at 103 (Lr)")
    period = sum(number > end for end in PERIOD_ENDS)
    radii, steps = radial(RADII[level][period], TREUTLER_XI[number])
    largest = DEGREES[level][min(period, 2)]
    degrees = pruned(number, radii, largest) if prune else np.full(len(radii), largest)
    points, weights = [], []
    for degree in np.unique(degrees):
        directions, shares = lebedev_rule(degree)
        shell = np.flatnonzero(degrees == degree)
        for start in range(0, len(shell), GROUP):
            group = shell[start : start + GROUP]
            points.append(np.einsum("i,kj->jik", radii[group], directions).reshape(-1, 3))
            weights.append(np.outer(shares, radii[group] ** 2 * steps[group]).reshape(-1))
    quadrature = np.concatenate(points), np.concatenate(weights)
    for array in quadrature:
        array.setflags(write=False)
    return quadrature


def radial(count: int, xi: float) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Radii (n,) in bohr, ascending, and their weights for an integral over r."""
    angle = np.pi / (count + 1) * np.arange(count, 0, -1)
    x, scale = np.cos(angle), xi / np.log(2.0)
    rise, log = (1.0 + x) ** 0.6, np.log((1.0 - x) / 2.0)
    slope = scale * rise * (-0.6 / (1.0 + x) * log + 1.0 / (1.0 - x))
    return -scale * rise * log, np.pi / (count + 1) * np.sin(angle) * slope


def pruned(number: int, radii: Float[np.ndarray, " n"], largest: int) -> Int[np.ndarray, " n"]:
    """Degree (n,) of the angular rule at each radius, at most ``largest``."""
    index = RULES.index(largest)
    if index == 0:
        return np.full(len(radii), largest)
    inner = (1, 2, 2, 2, 1) if index == 1 else (1, 3, index - 1, index, index - 1)
    bounds = REGIONS[min(sum(number > end for end in PERIOD_ENDS), 2)]
    reduced = radii / (BRAGG_RADII[number] * factor("angstrom", "bohr"))
    region = (reduced[:, None] > np.array(bounds)).sum(1)
    orders: np.ndarray = np.array(RULES)[np.array(inner)[region]]
    return orders
