"""Cartesian tensors of whole systems: their shapes, their symmetry, and their isotropic part.

Three kinds have a place here. Symmetric matrices, `0e+2e`, are (3, 3): a dielectric tensor, a
polarizability. Those without a trace, `2e`, are (3, 3) too: a quadrupole moment; nothing of them is
isotropic. Elastic constants, `2x0e+2x2e+1x4e`, are (6, 6) in Voigt's order xx yy zz yz xz xy.
The isotropic part is what is left when all orientations of a crystal are averaged: the trace's
third, or the two averages of W. Voigt (R. Hill, Proc. Phys. Soc. A 65, 349 (1952)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sfm.data.voigt import VOIGT
from sfm.errors import InputError

MATRIX, TRACELESS, ELASTIC = "0e+2e", "2e", "2x0e+2x2e+1x4e"
SHAPES: dict[str, tuple[int, ...]] = {MATRIX: (3, 3), TRACELESS: (3, 3), ELASTIC: (6, 6)}
ASYMMETRY = 0.02  # of the largest component: rounding and noise of a calculation


@dataclass(frozen=True)
class Isotropic:
    """The k isotropic tensors of one kind, flat.

    Attributes:
        patterns: (k, dim), dimensionless.
        weights: (k, dim): a tensor's share of each pattern is its sum of components times these.
    """

    patterns: Float[np.ndarray, "k dim"]
    weights: Float[np.ndarray, "k dim"]

    def part(self, values: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
        """(n, dim) the isotropic part, in the unit of the values."""
        return np.asarray(values @ self.weights.T @ self.patterns)


def isotropic(irreps: str) -> Isotropic | None:
    """The isotropic tensors of a kind, no one of some; None of irreps that are no such kind."""
    if irreps == TRACELESS:
        return Isotropic(np.zeros((0, 9)), np.zeros((0, 9)))
    if irreps == MATRIX:
        unit = np.eye(3).reshape(1, 9)
        return Isotropic(unit, unit / 3)
    if irreps != ELASTIC:
        return None
    normal = np.zeros((6, 6))
    normal[:3, :3] = 1.0
    shear = np.diag([4 / 3, 4 / 3, 4 / 3, 1, 1, 1])
    shear[:3, :3] -= 2 / 3 * (1 - np.eye(3))
    diagonal, rest = np.diag([1.0, 1, 1, 0, 0, 0]), np.diag([0.0, 0, 0, 1, 1, 1])
    bulk = normal / 9
    stiff = (diagonal - (normal - diagonal) / 2 + 3 * rest) / 15
    patterns = np.stack([normal, shear]).reshape(2, 36)
    return Isotropic(patterns, np.stack([bulk, stiff]).reshape(2, 36))


def symmetric(tensor: Float[np.ndarray, "n n"], what: str) -> Float[np.ndarray, "n n"]:
    """The tensor's symmetric part, in its unit, if it is symmetric but for noise.

    what: for the message.

    Raises:
        InputError: it is not symmetric.
    """
    size = float(np.abs(tensor).max())
    if float(np.abs(tensor - tensor.T).max()) > ASYMMETRY * size:
        raise InputError(f"{what} is no symmetric matrix, as its kind has to be")
    return np.asarray(0.5 * (tensor + tensor.T))


def elastic_reordered(
    tensor: Float[np.ndarray, "6 6"], order: Sequence[str]
) -> Float[np.ndarray, "6 6"]:
    """Elastic constants in Voigt's order, in their unit, from a file whose rows are in `order`."""
    rows = [list(order).index(component) for component in VOIGT]
    return tensor[np.ix_(rows, rows)]
