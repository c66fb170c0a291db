"""Total energies against what a composition costs, to tell in which unit they are.

A total energy is within a few per cent the sum of those of its atoms. With all electrons that of an
atom is, in hartree,

    E(Z) = -0.768745 Z^(7/3) + 0.5 Z^2 - 0.269900 Z^(5/3)

(J. Schwinger's semiclassical atom, as B.-G. Englert states it, arXiv:1907.04751; within 1 % of
Hartree-Fock for Z > 4), and -0.5 for hydrogen; a bond adds some 0.08 hartree per atom. Levels that
leave the core out have references of their own, which a model that knows the level supplies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from sfm.data.sample import Sample
from sfm.data.unit_factors import as_if, candidates

HARTREE = 27.211386245988  # eV
BINDING = 0.08  # hartree per atom
TOLERANCE = 0.03
TOLERANCE_VALENCE = 0.06  # bonds are a larger share where the core is left out
SMALLEST = 5.0  # eV per atom; smaller references are energies of formation, which tell nothing
ALL_ELECTRONS = "the atoms' energies with all electrons"


def all_electron_reference() -> Float[np.ndarray, " 119"]:
    """(119,) eV, energy of each element in a molecule or crystal, by atomic number."""
    z = np.arange(119, dtype=np.float64)
    energy = -0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)
    energy[1] = -0.5
    energy[1:] -= BINDING
    return energy * HARTREE


def wrong_energy_unit(
    samples: Sequence[Sample], references: Mapping[str, Float[np.ndarray, " 119"]] | None = None
) -> str:
    """What unit other than eV explains the energies; empty if eV does, or if nothing does.

    Args:
        samples: those with the label `energy` are taken.
        references: more tables (119,) of eV per element, by name; NaN where an element is missing.
    """
    have = [
        s for s in samples if "energy" in s.labels and len(s.types) and np.all(s.types > 0)
    ]  # fmt: skip
    energies = np.array([float(np.asarray(s.labels["energy"]).ravel()[0]) for s in have])
    keep = np.isfinite(energies)
    if not keep.any():
        return ""
    counts = np.stack([np.bincount(s.types, minlength=119) for s in have])[keep]
    energies, n = energies[keep], counts.sum(1)
    present = counts.any(0)
    guess = ""
    for name, table in {ALL_ELECTRONS: all_electron_reference(), **(references or {})}.items():
        of_elements = table[present]
        if not np.isfinite(of_elements).all():
            continue
        expected = counts[:, present] @ of_elements
        if np.median(np.abs(expected) / n) < SMALLEST:
            continue
        for unit, scale in {"eV": 1.0, **candidates("eV")}.items():
            off = float(np.median(np.abs(energies * scale - expected) / np.abs(expected)))
            if off > (TOLERANCE if name == ALL_ELECTRONS else TOLERANCE_VALENCE):
                continue
            if unit == "eV":
                return ""
            guess = guess or (
                f"energies are {1 / scale:.4g} times {name} (within {100 * off:.1g} %), "
                f"{as_if('energy', unit, 'eV')}"
            )
    return guess
