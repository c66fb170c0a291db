"""How good a predicted Fock matrix is: its elements, its orbitals, and what it saves.

Matrices in hartree; counts of cycles without unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigh

from sfm.units import factor
from sfm_dft.fock.labels import FockLabel, minimal_molecule, self_consistent


def orbital_errors(fock: Float[np.ndarray, "n n"], label: FockLabel) -> dict[str, float]:
    """Errors of a matrix (n, n): `elements` mHa, levels and gap eV, `similarity` of 0 to 1.

    Levels come from F C = S C e. `occupied` is the mean over occupied levels, `similarity` is
    tr(P S P* S) / n with the projectors P on the n occupied orbitals: 1 where the spaces agree.
    Without a virtual orbital, `lumo` and `gap` are NaN.
    """
    count, ev = label.occupied, factor("hartree", "eV")
    energies, orbitals = eigh(fock, label.overlap)
    true, target = eigh(label.fock, label.overlap)
    error = (energies - true) * ev
    has_virtual = count < len(true)
    common = orbitals[:, :count].T @ label.overlap @ target[:, :count]
    return {
        "elements": 1e3 * float(np.abs(fock - label.fock).mean()),
        "occupied": float(np.abs(error[:count]).mean()),
        "homo": float(abs(error[count - 1])),
        "lumo": float(abs(error[count])) if has_virtual else float("nan"),
        "gap": float(abs(error[count] - error[count - 1])) if has_virtual else float("nan"),
        "similarity": float((common**2).sum() / count),
    }


def cycles(fock: Float[np.ndarray, "n n"], label: FockLabel) -> float:
    """Cycles of PySCF's self-consistent field from the occupied space of (n, n); NaN: failed."""
    orbitals = eigh(fock, label.overlap)[1][:, : label.occupied]
    molecule = minimal_molecule(label.types, label.positions)
    mean_field = self_consistent(molecule, 2.0 * orbitals @ orbitals.T)
    return float(mean_field.cycles) if mean_field.converged else float("nan")


def evaluate(
    predict: Callable[[FockLabel], Float[np.ndarray, "n n"]],
    labels: Sequence[FockLabel],
    *,
    every: int = 1,
) -> dict[str, float]:
    """Means over molecules of `orbital_errors` and of `cycles`; what failed is counted apart.

    predict: label -> Fock matrix (n, n).

    every: run the self-consistent field of every k-th molecule only; 0: of none.
    """
    matrices = [predict(label) for label in labels]
    rows = [orbital_errors(fock, x) for fock, x in zip(matrices, labels, strict=True)]
    means = {k: float(np.nanmean([row[k] for row in rows])) for k in rows[0]}
    if every:
        chosen = zip(matrices[::every], labels[::every], strict=True)
        counts = np.array([cycles(fock, x) for fock, x in chosen])
        means["failed"] = float(np.isnan(counts).sum())
        converged = counts[np.isfinite(counts)]
        means["cycles"] = float(converged.mean()) if len(converged) else float("nan")
    return means
