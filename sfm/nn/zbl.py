"""The universal screened nuclear repulsion of Ziegler, Biersack and Littmark (ZBL).

    V(r) = Z1 Z2 e^2 / (4 pi eps0 r) phi(r / a),    a = 0.88534 a0 / (Z1^0.23 + Z2^0.23),
    phi(x) = 0.18175 e^(-3.1998 x) + 0.50986 e^(-0.94229 x)
           + 0.28022 e^(-0.4029 x) + 0.02817 e^(-0.20162 x)

J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Matter (Pergamon,
1985), with the digits of the coefficients that LAMMPS's `pair_style zbl` uses.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

COULOMB = 14.3996454784  # e^2 / (4 pi eps0), eV angstrom (CODATA 2018)
BOHR = 0.529177210903  # angstrom
SCREENING = 0.88534 * BOHR
POWER = 0.23
AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)


def zbl(
    z1: Int[Tensor, "*pairs"], z2: Int[Tensor, "*pairs"], r: Float[Tensor, "*pairs"]
) -> Float[Tensor, "*pairs"]:
    """Repulsion of two nuclei in eV, (...).

    Args:
        z1, z2: (...) atomic numbers.
        r: (...) distance in angstrom, positive; differentiable as often as one likes.
    """
    z1, z2 = z1.to(r.dtype), z2.to(r.dtype)
    x = r * (z1**POWER + z2**POWER) / SCREENING
    terms = [c * torch.exp(-d * x) for c, d in zip(AMPLITUDES, DECAYS, strict=True)]
    return COULOMB * z1 * z2 / r * torch.stack(terms).sum(0)


def envelope(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """One at x = 0, zero at 1 and beyond, with two smooth derivatives there; falls all the way.

    1 - 28 x^6 + 48 x^7 - 21 x^8 of dimensionless x, (...): Gasteiger, Gross and Guennemann,
    arXiv:2003.03123, eq. 8, p = 6; the switch of the pair repulsion in MACE.
    """
    inside = x.clamp(max=1.0)
    return 1 - inside**6 * (28 - 48 * inside + 21 * inside**2)
