"""Heads of the dft domain that the core does not have."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens, system_sum
from sfm.errors import InputError
from sfm.nn.head import Head, Normalisation, ScalarReadout
from sfm.quantity import Quantity
from sfm_dft.basis.density_basis import COUNTS, IRREPS
from sfm_dft.model.irreps import join_irreps


class AtomicDensity(Head):
    """Density coefficients of each atom: 10x0e + 5x1o + 4x2e in e3nn's order, (N, 45).

    Vectors and tensors are gated by scalars and mixed linearly, so the output turns with the
    molecule.
    """

    normalisation: ClassVar[Normalisation] = "references"

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        if quantity.irreps != IRREPS:
            raise InputError(f"'{quantity.name}' has irreps {quantity.irreps}, not {IRREPS}")
        n_scalars, n_vectors, n_tensors = COUNTS
        self.scalars = ScalarReadout(channels, n_scalars)
        self.gate_vectors = nn.Linear(channels, channels)
        self.gate_tensors = nn.Linear(channels, channels)
        self.vectors = nn.Linear(channels, n_vectors, bias=False)
        self.tensors = nn.Linear(channels, n_tensors, bias=False)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "N 45"]:
        vectors = features.vectors * self.gate_vectors(features.scalars).unsqueeze(1)
        tensors = features.tensors * self.gate_tensors(features.scalars).unsqueeze(1)
        return join_irreps(
            self.scalars(features.scalars), self.vectors(vectors), self.tensors(tensors)
        )


class FrontierLevel(Head):
    """An orbital level of the whole molecule, intensive: an attention-weighted mean over atoms.

        e = sum_i w_i e_i / sum_i w_i,   w_i = exp(4 tanh(a_i)),

    by definition, so that few atoms can decide, as for a frontier orbital, and two copies far apart
    keep it.
    """

    normalisation: ClassVar[Normalisation] = "standard"

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.readout = ScalarReadout(channels, 2)

    def last_layer(self, features: Tokens) -> Float[Tensor, "S C"]:
        """(S, C) what the last linear map acts on at the given attention, dimensionless."""
        hidden = self.readout.hidden(features.scalars)
        weight = self._weight(self.readout.outer(hidden)[:, 1:])
        total = system_sum(weight * hidden, features.system, features.n_systems)
        return total / system_sum(weight, features.system, features.n_systems)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " S"]:
        level, attention = self.readout(features.scalars).split(1, dim=-1)
        weight = self._weight(attention)
        pairs = torch.cat([weight * level, weight], dim=-1)
        total = system_sum(pairs, features.system, features.n_systems)
        return total[:, 0] / total[:, 1]

    @staticmethod
    def _weight(attention: Float[Tensor, "N 1"]) -> Float[Tensor, "N 1"]:
        """(N, 1) w_i, dimensionless."""
        return torch.exp(4.0 * torch.tanh(attention))
