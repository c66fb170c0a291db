"""Computed piezoelectric tensors, as the archive of matminer 0.4.1 holds them.

`piezoelectric_tensor.csv`: M. de Jong, W. Chen, H. Geerlings, M. Asta, K. A. Persson, Sci. Data 2,
150053 (2015). The tensors e_iJ (3 x 6, C/m^2, Voigt's order xx yy zz yz xz xy, shear components
e_i4 = e_i23) lie in the standard axes of the crystal's class, the positions in those of the cell:
of 849 crystals with rotations, those of the cell change most tensors by more than half. So a tensor
belongs to no positions here, and what can be learned is what does not turn: the largest
longitudinal modulus,

    max over directions n of |e_ijk n_i n_j n_k|.

The table's own column `eij_max` is the same maximum with each shear component counted once where
the sum over j and k counts it twice; it is half of the modulus in class -43m, and would change if
the axes were chosen otherwise.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sfm.data.voigt import VOIGT_AXES
from sfm_crystals.data.materials_project import Entry, read_entry, table_rows

LARGEST = 10.0  # C/m^2; beyond it a soft mode decides, and the next digit of a relaxation
STARTS, STEPS = 400, 60


@dataclass(frozen=True, eq=False)
class PiezoelectricCrystal(Entry):
    """A crystal without inversion, and how it polarises when stretched.

    Attributes:
        modulus: C/m^2.
        published: the table's `eij_max`, C/m^2, of another definition.
    """

    modulus: float
    published: float


def read_piezoelectric(content: bytes) -> list[PiezoelectricCrystal]:
    """The crystals of `piezoelectric_tensor.csv` whose modulus is at most `LARGEST`.

    Raises:
        InputError: the content is not that file.
    """
    crystals = []
    for row in table_rows(content, "piezoelectric_tensor"):
        tensor = full_tensor(np.array(ast.literal_eval(row["piezoelectric_tensor"]), float))
        modulus = longitudinal(tensor)
        if modulus <= LARGEST:
            fields = vars(read_entry(row))
            published = float(row["eij_max"])
            crystals.append(PiezoelectricCrystal(**fields, modulus=modulus, published=published))
    return crystals


def full_tensor(voigt: Float[np.ndarray, "3 6"]) -> Float[np.ndarray, "3 3 3"]:
    """(3, 3, 3) e_ijk, symmetric in j and k, of (3, 6) e_iJ; both C/m^2."""
    full = np.zeros((3, 3, 3))
    for column, (j, k) in enumerate(VOIGT_AXES):
        full[:, j, k] = full[:, k, j] = voigt[:, column]
    return full


def longitudinal(tensor: Float[np.ndarray, "3 3 3"]) -> float:
    """C/m^2: the maximum over directions n of |e_ijk n_i n_j n_k|, of (3, 3, 3).

    By the shifted power method on the part that is symmetric in all three: n <- s(n) + c n,
    normalised, climbs for c above twice the norm (T. G. Kolda, J. R. Mayo, SIAM J. Matrix Anal.
    Appl. 32, 1095 (2011)); from directions spread over the sphere, the highest of all.
    """
    axes = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    symmetric = sum(tensor.transpose(a) for a in axes) / 6.0
    norm = float(np.linalg.norm(symmetric))
    if norm == 0.0:
        return 0.0
    symmetric = symmetric / norm
    turn = np.pi * (1 + 5**0.5) * np.arange(STARTS)  # Fibonacci's lattice on the sphere
    height = 1 - (2 * np.arange(STARTS) + 1) / STARTS
    ring = np.sqrt(1 - height**2)
    n = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)

    def mapped(directions: np.ndarray) -> np.ndarray:
        image: np.ndarray = np.einsum("ijk,aj,ak->ai", symmetric, directions, directions)
        return image

    n = n[np.argsort((mapped(n) * n).sum(1))[-8:]]  # -n has minus the value: the largest are enough
    for _ in range(STEPS):
        n = mapped(n) + 2.0 * n
        n /= np.linalg.norm(n, axis=1, keepdims=True)
    return norm * float((mapped(n) * n).sum(1).max())
