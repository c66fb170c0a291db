"""Thermal displacements of a molecule about a minimum, mode by mode.

In a harmonic well with Hessian H the classical distribution of positions at temperature T is
a Gaussian with covariance k_B T H^-1: each normal mode i has the variance k_B T / k_i. Masses drop
out. H is taken from a classical force field; soft modes are stiffened to `floor`, because a
straight line along a torsion is a torsion only while it is short.

Normal-mode sampling for learned potentials: J. S. Smith et al., Chem. Sci. 8, 3192 (2017).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from sfm.constants import BOLTZMANN
from sfm_molecules.constants import KCAL_PER_MOL

if TYPE_CHECKING:
    from rdkit.ForceField.rdForceField import ForceField


def hessian(
    gradient: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, "n 3"]],
    positions: Float[np.ndarray, "n 3"],
    step: float = 1e-3,
) -> Float[np.ndarray, "3*n 3*n"]:
    """Central differences of `gradient(positions (n, 3)) -> (n, 3)`; symmetric (3n, 3n).

    In the gradient's unit per that of positions and `step`.
    """
    size = positions.size
    rows = np.empty((size, size))
    for i in range(size):
        shift = (step * np.eye(1, size, i)).reshape(positions.shape)
        rows[i] = ((gradient(positions + shift) - gradient(positions - shift)) / (2 * step)).ravel()
    return 0.5 * (rows + rows.T)


def force_field_hessian(
    field: ForceField, positions: Float[np.ndarray, "n 3"]
) -> Float[np.ndarray, "3*n 3*n"]:
    """The Hessian (3n, 3n) of an rdkit force field, eV/angstrom^2."""

    def gradient(x: np.ndarray) -> np.ndarray:
        flat = x.ravel().tolist()
        field.CalcEnergy(flat)  # CalcGrad reuses the distances of the last CalcEnergy
        return np.array(field.CalcGrad(flat)).reshape(x.shape) * KCAL_PER_MOL

    return hessian(gradient, positions)


def modes(
    matrix: Float[np.ndarray, "k k"], positions: Float[np.ndarray, "n 3"], floor: float = 0.5
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "3*n m"]]:
    """Force constants (m,) and unit modes (3n, m) of a Hessian without translation and rotation.

    Force constants below `floor` (eV/angstrom^2) are raised to it.
    """
    internal = np.eye(positions.size) - _rigid(positions)
    constants, vectors = np.linalg.eigh(internal @ matrix @ internal)
    inside = np.linalg.norm(internal @ vectors, axis=0) > 0.5
    return np.maximum(constants[inside], floor), vectors[:, inside]


def displace(
    positions: Float[np.ndarray, "n 3"],
    constants: Float[np.ndarray, " m"],
    vectors: Float[np.ndarray, "3*n m"],
    temperature: float,
    generator: np.random.Generator,
) -> Float[np.ndarray, "n 3"]:
    """Positions (n, 3) drawn from the harmonic ensemble at `temperature` (kelvin)."""
    amplitude = np.sqrt(BOLTZMANN * temperature / constants)
    step = vectors @ (amplitude * generator.standard_normal(len(constants)))
    return positions + step.reshape(positions.shape)


def _rigid(positions: np.ndarray) -> np.ndarray:
    """Projector (3n, 3n) on the translations and rotations of a rigid body."""
    centred = positions - positions.mean(0)
    columns = [np.tile(axis, len(positions)) for axis in np.eye(3)]
    columns += [np.cross(axis, centred).ravel() for axis in np.eye(3)]
    left, size, _ = np.linalg.svd(np.stack(columns, axis=1), full_matrices=False)
    left = left[:, size > 1e-3 * size.max()]
    projector: np.ndarray = left @ left.T
    return projector
