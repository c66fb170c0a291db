"""Functions of the grid around each atom: what is packed into atoms, and what they give back.

A point r in atom A's part of space, at r - R_A = x, carries shells and solid harmonics,

    S_k(x) = exp(-(d - d_k)^2 / 2 w^2),  d = log(1 + (|x| / 0.5 bohr)^2) / 2,
    Y_lm(x / sqrt(1 + |x|^2)),  l = 0, 1, 2,

both smooth everywhere, at the nucleus too. Sums over points stand for integrals: weights w_g hold
Becke's partition, a smooth function of the nuclei, so what an atom gathers and what it spreads are

    a_A,qklm = int p_A n q S_k Y_lm,     h(r) = sum_A p_A(r) sum_klm c_A,klm S_k Y_lm

by definition, for whatever a grid integrates h with. Either costs two small matrix products per
atom.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.nn.harmonics import spherical_harmonics

SHELLS = (0.0, 0.6, 1.2, 1.8, 2.4)  # d_k: 0, 0.8, 1.6, 3.0 and 5.5 bohr
WIDTH = 0.5
LENGTH = 0.5  # bohr


def shells(square: Float[Tensor, "*points"]) -> Float[Tensor, "*points K"]:
    """(..., K) values at squared distances (...) in bohr^2."""
    d = 0.5 * torch.log1p(square / LENGTH**2)
    centres = torch.tensor(SHELLS, dtype=square.dtype, device=square.device)
    return torch.exp(-0.5 * ((d[..., None] - centres) / WIDTH).square())


@dataclass(frozen=True, eq=False)
class AtomicFunctions:
    """Points sorted by the atom that owns them.

    Attributes:
        order: (G,) the points' numbers, atom by atom. sizes: how many each atom has.
        shells: (G, K) and harmonics: (G, 9), in that order.
    """

    order: Int[Tensor, " G"]
    sizes: tuple[int, ...]
    shells: Float[Tensor, "G K"]
    harmonics: Float[Tensor, "G 9"]

    @classmethod
    def of(
        cls,
        points: Float[Tensor, "G 3"],
        owners: Int[Tensor, " G"],
        positions: Float[Tensor, "A 3"],
    ) -> AtomicFunctions:
        """Of points (G, 3) owned by atoms (G,) at positions (A, 3), bohr; differentiable."""
        order = owners.argsort(stable=True)
        sizes = torch.bincount(owners, minlength=len(positions))
        x = (points - positions[owners])[order]
        square = x.square().sum(-1)
        harmonics = spherical_harmonics(x / (1.0 + square).sqrt()[:, None])
        return cls(order, tuple(sizes.tolist()), shells(square), harmonics)

    def gather(self, values: Float[Tensor, "R G Q"]) -> Float[Tensor, "R A 9 KQ"]:
        """Sums (R, A, 9, K Q) of values (R, G, Q), weights included, times shells and harmonics."""
        sorted_ = values[:, self.order]
        both = (self.shells[:, :, None] * sorted_[:, :, None, :]).flatten(2)
        parts = zip(self.harmonics.split(self.sizes), both.split(self.sizes, 1), strict=True)
        return torch.stack([y.mT @ rows for y, rows in parts], 1)

    def spread(self, coefficients: Float[Tensor, "R A 9 KF"]) -> Float[Tensor, "R G F"]:
        """Values (R, G, F) of coefficients (R, A, 9, K F), in the points' own order."""
        values = self.sorted_values(coefficients.transpose(0, 1))
        return torch.empty_like(values).index_copy(1, self.order, values)

    def sorted_values(
        self, coefficients: Iterable[Float[Tensor, "*rows 9 KF"]]
    ) -> Float[Tensor, "*rows G F"]:
        """Values (..., G, F), atom by atom, of each atom's coefficients (..., 9, K F)."""
        parts = zip(self.harmonics.split(self.sizes), coefficients, strict=True)
        both = torch.cat([y @ c for y, c in parts], -2)
        both = both.unflatten(-1, (len(SHELLS), -1))
        density: Tensor = (self.shells[:, :, None] * both).sum(-2)
        return density
