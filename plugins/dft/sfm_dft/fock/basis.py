"""The minimal basis and the layout of matrices in it.

STO-3G has 1s on hydrogen and 1s, 2s, 2px, 2py, 2pz on carbon to fluorine. A matrix over these
functions is a set of blocks (5, 5), one for each ordered pair of atoms; rows and columns that an
atom lacks are zero. PySCF keeps the functions of an atom together and orders p functions x, y, z,
which is also the trunk's (e3nn's) order of vectors, so a block turns with diag(1, 1, R):

    F_ij -> W F_ij W^T,   W = diag(1, 1, R)   (p functions are polar vectors: R may be a reflection)

W. J. Hehre, R. F. Stewart and J. A. Pople, J. Chem. Phys. 51, 2657 (1969), STO-3G.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfm.errors import InputError

BASIS = "sto-3g"
WIDTH = 5  # functions of the largest atom: 1s 2s 2px 2py 2pz
FUNCTIONS = {1: 1, 6: 5, 7: 5, 8: 5, 9: 5}


def present(numbers: Int[np.ndarray, " A"]) -> Bool[np.ndarray, "A 5"]:
    """(A, 5) bool: which of the five functions each atom has.

    Raises:
        InputError: an element other than H, C, N, O and F.
    """
    strange = sorted(set(map(int, numbers)) - FUNCTIONS.keys())
    if strange:
        raise InputError(
            f"no Fock blocks for atomic number {strange[0]}: the minimal basis here covers "
            "H, C, N, O and F"
        )
    counts = np.array([FUNCTIONS[int(z)] for z in numbers])
    return np.arange(WIDTH) < counts[:, None]


def padded(
    matrix: Float[np.ndarray, " n *axes"], numbers: Int[np.ndarray, " A"]
) -> Float[np.ndarray, " 5*A *axes"]:
    """(n, ...) rows over functions -> (5 A, ...), zero where an atom lacks a function."""
    out = np.zeros((WIDTH * len(numbers), *matrix.shape[1:]))
    out[present(numbers).reshape(-1)] = matrix
    return out


def to_blocks(
    matrix: Float[np.ndarray, "n n"], numbers: Int[np.ndarray, " A"]
) -> Float[np.ndarray, "A A 5 5"]:
    """(n, n) in PySCF's order -> (A, A, 5, 5)."""
    atoms = len(numbers)
    square = padded(padded(matrix, numbers).T, numbers).T
    return square.reshape(atoms, WIDTH, atoms, WIDTH).transpose(0, 2, 1, 3)


def to_matrix(
    blocks: Float[np.ndarray, "A A 5 5"], numbers: Int[np.ndarray, " A"]
) -> Float[np.ndarray, "n n"]:
    """(A, A, 5, 5) -> (n, n) in PySCF's order; the inverse of `to_blocks`."""
    atoms, inside = len(numbers), present(numbers).reshape(-1)
    square = blocks.transpose(0, 2, 1, 3).reshape(WIDTH * atoms, WIDTH * atoms)
    matrix: np.ndarray = square[np.ix_(inside, inside)]
    return matrix


def block_rotation(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "5 5"]:
    """(5, 5) how the functions of one atom turn under the (3, 3) orthogonal matrix."""
    block: Tensor = torch.block_diag(torch.eye(2, dtype=rotation.dtype), rotation)
    return block
