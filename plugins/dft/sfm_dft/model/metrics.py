"""Metrics of the dft domain: callables (predicted, target) -> float, arrays row by row.

Metrics are dimensionless unless they say so.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sfm_dft.basis.density_basis import COUNTS, DIM, EXPONENTS, electrons_per_function


@cache
def onsite_overlap() -> Float[np.ndarray, "45 45"]:
    """Overlap of the density basis functions of one atom, (45, 45); functions are normalised."""
    matrix, start = np.zeros((DIM, DIM)), 0
    for degree, exponents in enumerate(EXPONENTS):
        a = np.array(exponents)
        pair = (2.0 * np.sqrt(np.outer(a, a)) / np.add.outer(a, a)) ** (degree + 1.5)
        width = 2 * degree + 1
        stop = start + width * COUNTS[degree]
        matrix[start:stop, start:stop] = np.kron(pair, np.eye(width))
        start = stop
    return matrix


def _rows(values: Any) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(-1, DIM)


def density_relative_error(predicted: Any, target: Any) -> float:
    """sqrt(<d|d> / <t|t>), by definition d = predicted - target, with the L2 overlap of each atom's
    functions.

    Atoms' contributions are compared one by one; `density_nmae` in this module compares the sums.
    """
    difference, reference = _rows(predicted) - _rows(target), _rows(target)
    overlap = onsite_overlap()
    top = np.einsum("ai,ij,aj->", difference, overlap, difference)
    return float(np.sqrt(top / np.einsum("ai,ij,aj->", reference, overlap, reference)))


def electron_error(predicted: Any, target: Any) -> float:
    """Mean absolute error of the number of electrons per atom, e."""
    difference = (_rows(predicted) - _rows(target)) @ electrons_per_function()
    return float(np.abs(difference).mean())


def dipole_vector_error(predicted: Any, target: Any) -> float:
    """Mean length of the difference of dipole vectors, in their unit."""
    difference = np.asarray(predicted, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    return float(np.linalg.norm(difference.reshape(-1, 3), axis=1).mean())


def density_nmae(
    numbers: Int[np.ndarray, " A"],
    positions: Float[np.ndarray, "A 3"],
    predicted: Float[np.ndarray, "A 45"],
    reference: Float[np.ndarray, "A 45"] | None = None,
    *,
    density_matrix: Float[np.ndarray, "n n"] | None = None,
) -> float:
    """Integral of |rho - rho_ref| over the number of electrons, on a Becke grid (level 2).

    numbers: (A,). positions: (A, 3) angstrom. predicted: (A, 45) coefficients. The reference is
    another coefficient set (A, 45), or a density matrix in def2-SVP (the true density).
    """
    from pyscf import dft

    from sfm_dft.basis.density_basis import evaluate
    from sfm_dft.basis.pyscf_molecule import build_molecule

    molecule = build_molecule(numbers, positions)
    grid = dft.gen_grid.Grids(molecule)
    grid.level = 2
    grid.build(with_non0tab=False)
    centres = molecule.atom_coords()
    if density_matrix is not None:
        values = dft.numint.eval_ao(molecule, grid.coords)
        exact = ((values @ density_matrix) * values).sum(1)
    elif reference is not None:
        exact = evaluate(centres, reference, grid.coords)
    else:
        raise ValueError("give a reference: coefficients or a density matrix")
    difference = evaluate(centres, predicted, grid.coords) - exact
    return float(grid.weights @ np.abs(difference) / (grid.weights @ exact))
