"""Crystals of other elements in the same structures: one element is replaced by a relative.

Relatives are neighbours in a column of the periodic table, and lanthanides among each other. The
cell grows or shrinks with the sum of covalent radii; it is not relaxed. Functions of (seed,
crystal, copy) only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from sfm_crystals.data.materials_project import Crystal, reduced_formula
from sfm_crystals.data.perturbation import (
    CLOSEST,
    Configuration,
    closest_approach,
    generator,
)

COLUMNS = (
    (1, 9),
    (3, 11, 19, 37, 55),
    (4, 12, 20, 38, 56),
    (21, 39, 57),
    (22, 40, 72),
    (23, 41, 73),
    (24, 42, 74),
    (25, 75),
    (26, 44, 76),
    (27, 45, 77),
    (28, 46, 78),
    (29, 47, 79),
    (30, 48, 80),
    (5, 13, 31, 49, 81),
    (6, 14, 32, 50, 82),
    (7, 15, 33, 51, 83),
    (8, 16, 34, 52),
    (9, 17, 35, 53),
    (57, 58, 59, 60, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71),
)


def relatives(z: int) -> list[int]:
    """Atomic numbers of the neighbours of element `z` in its columns.

    >>> relatives(31)
    [13, 49]
    """
    near = {
        other
        for column in COLUMNS
        if z in column
        for other in column
        if abs(column.index(other) - column.index(z)) == 1
    }
    return sorted(near)


def substitute(crystal: Crystal, copy: int, seed: int) -> Configuration | None:
    """One element of `crystal` replaced, `mp-10/Ga>In`; None if it has no relative or no room."""
    from ase.data import chemical_symbols, covalent_radii

    rng = generator(seed, f"{crystal.id}/substituted/{copy}")
    choices = [(z, other) for z in np.unique(crystal.types) for other in relatives(int(z))]
    choices = [(z, other) for z, other in choices if other not in crystal.types]
    if not choices:
        return None
    old, new = choices[rng.integers(len(choices))]
    types = np.where(crystal.types == old, new, crystal.types)
    scale = covalent_radii[types].sum() / covalent_radii[crystal.types].sum()
    positions = (scale * crystal.positions).astype(np.float32).astype(np.float64)
    cell = scale * crystal.cell
    if closest_approach(types, positions, cell) < CLOSEST:
        return None
    name = f"{crystal.id}/{chemical_symbols[old]}>{chemical_symbols[new]}"
    return Configuration(name, reduced_formula(types), types, positions, cell)


def substitutions(
    crystals: Sequence[Crystal], held_out: Collection[str], size: int, seed: int, draws: int = 4
) -> list[Configuration]:
    """At most `size` substituted crystals of compounds that neither `crystals` nor `held_out` has.

    held_out: reduced formulas. Every crystal is taken once before any is taken again, `draws` times
    at most.
    """
    known = {c.formula for c in crystals} | set(held_out)
    order = generator(seed, "order of substitution").permutation(len(crystals))
    chosen: dict[str, Configuration] = {}
    for copy in range(draws):
        for index in order:
            if len(chosen) == size:
                return list(chosen.values())
            fresh = substitute(crystals[index], copy, seed)
            if fresh is not None and fresh.formula not in known:
                chosen.setdefault(fresh.formula, fresh)
    return list(chosen.values())
