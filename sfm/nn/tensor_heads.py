"""Heads of tensors of whole systems: symmetric matrices, and elastic constants.

A matrix has an invariant part and one that turns as a tensor of rank 2. Elastic constants also have
a part of rank 4, and at a site of cubic symmetry no feature of rank 2 is left to make it of: there
it comes from the bonds,

    C = sum over bonds of k(bond) d d^T,  d = the five harmonics of rank 2 of its direction,

which is the form that central forces between pairs give (M. Born, K. Huang, Dynamical Theory of
Crystal Lattices (1954)); here k is learned, and terms of the atoms are added. Tensors are assembled
in the orthonormal basis of symmetric matrices in which a rotation is a rotation.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens, system_sum
from sfm.data.voigt import VOIGT_AXES
from sfm.nn.harmonics import matrix_basis, spherical_harmonics, to_matrix
from sfm.nn.head import Head, Normalisation, ScalarReadout
from sfm.nn.radial import bessel
from sfm.quantity import Quantity

RADIAL = 6


class MatrixSum(Head):
    """Extensive symmetric matrix of the system, (S, 3, 3): a sum over tokens."""

    normalisation: ClassVar[Normalisation] = "references"
    dim: ClassVar[int] = 9

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.readout = ScalarReadout(channels)
        self.gate = ScalarReadout(channels, channels)
        self.outer = nn.Linear(channels, 1, bias=False)

    def per_token(self, features: Tokens) -> Float[Tensor, "N 3 3"]:
        """(N, 3, 3) each token's share, without unit."""
        gated = features.tensors * self.gate(features.scalars).unsqueeze(1)
        turned = to_matrix(self.outer(gated)).squeeze(-1)
        eye = torch.eye(3, dtype=turned.dtype, device=turned.device)
        shares: Tensor = turned + self.readout(features.scalars).unsqueeze(-1) * eye
        return shares

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "S 3 3"]:
        return system_sum(self.per_token(features), features.system, features.n_systems)


class MatrixMean(MatrixSum):
    """Intensive symmetric matrix of the system, (S, 3, 3): a mean over tokens."""

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "S 3 3"]:
        return super().forward(features, inputs) / features.counts().reshape(-1, 1, 1)


class ElasticMean(Head):
    """Elastic constants (S, 6, 6) in Voigt's order: a mean over atoms and their bonds."""

    normalisation: ClassVar[Normalisation] = "references"
    dim: ClassVar[int] = 36

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.readout = ScalarReadout(channels, 2)
        self.gate = ScalarReadout(channels, channels)
        self.outer = nn.Linear(channels, 2, bias=False)
        self.ends = nn.Linear(channels, RADIAL)

    def per_token(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "N 6 6"]:
        """(N, 6, 6) each token's share, in the orthonormal basis, without unit."""
        shares = features.scalars.new_zeros(features.n_tokens, 6, 6)
        bulk, shear = self.readout(features.scalars).unbind(-1)
        gated = features.tensors * self.gate(features.scalars).unsqueeze(1)
        mixed, inner = self.outer(gated).unbind(-1)
        basis = matrix_basis(shares)
        eye = torch.eye(5, dtype=shares.dtype, device=shares.device)
        of_rank_two = torch.einsum("kij,mjl,nli,qm->qkn", basis, basis, basis, inner)
        block = shear.reshape(-1, 1, 1) * eye + 0.5 * (of_rank_two + of_rank_two.mT)
        block = block + self._bonds(features, inputs)
        top = torch.cat([bulk.reshape(-1, 1, 1), mixed.unsqueeze(1)], dim=2)
        return torch.cat([top, torch.cat([mixed.unsqueeze(2), block], dim=2)], dim=1)

    def _bonds(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "N 5 5"]:
        """(N, 5, 5) sums over the bonds of each token."""
        sender, receiver = inputs.edges
        vectors = inputs.edge_vectors()
        length = vectors.norm(dim=1)
        reduced = length / inputs.cutoff[inputs.system[receiver]]
        ends = self.ends(features.scalars)
        strength = (bessel(reduced, RADIAL) * (ends[sender] + ends[receiver])).sum(1)
        d = spherical_harmonics(vectors / length.unsqueeze(1))[:, 4:] / math.sqrt(5)
        outer = strength.reshape(-1, 1, 1) * d.unsqueeze(2) * d.unsqueeze(1)
        empty = outer.new_zeros(features.n_tokens, 5, 5)
        sums: Tensor = empty.index_add(0, receiver, outer)
        return sums

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "S 6 6"]:
        shares = self.per_token(features, inputs)
        total = system_sum(shares, features.system, features.n_systems)
        turn = to_voigt(shares)
        mean = total / features.counts().reshape(-1, 1, 1)
        return turn.T @ mean @ turn


@cache
@torch.inference_mode(False)  # what is kept must serve training too
def _voigt_rows() -> Tensor:
    basis = matrix_basis(torch.zeros((), dtype=torch.float64))
    full = torch.cat([torch.eye(3, dtype=torch.float64)[None] / math.sqrt(3), basis])
    return torch.stack([full[:, i, j] for i, j in VOIGT_AXES], dim=1)


def to_voigt(like: Float[Tensor, " ..."]) -> Float[Tensor, "6 6"]:
    """(6, 6) W, without unit: C in Voigt's order is W^T H W, H in the orthonormal basis."""
    return _voigt_rows().to(like)


def turned_elastic(
    values: Float[Tensor, "*rows 6 6"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "*rows 6 6"]:
    """Elastic constants (..., 6, 6), in their unit, of a crystal turned by (3, 3)."""
    index = torch.as_tensor(np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]]), device=values.device)
    full = values[..., index, :][..., index]
    turn = rotation.to(values)
    full = torch.einsum("ai,bj,ck,dl,...ijkl->...abcd", turn, turn, turn, turn, full)
    first, second = (list(axes) for axes in zip(*VOIGT_AXES, strict=True))
    rows = full[..., first, second, :, :]
    return rows[..., first, second]


TENSOR_HEADS: dict[str, type[Head]] = {
    "matrix-sum": MatrixSum,
    "matrix-mean": MatrixMean,
    "elastic-mean": ElasticMean,
}
