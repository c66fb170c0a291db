"""Head of the next state: what the velocity of every cell changes by."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.nn.harmonics import to_matrix
from sfm.nn.head import Head, ScalarReadout
from sfm.quantity import Quantity
from sfm_fluids.patches.cell_tensors import offsets
from sfm_fluids.patches.flow_encoder import N_BASIS
from sfm_fluids.patches.stress_head import on_grid

START = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)  # one tamed Euler step


class ChangeHead(Head):
    """`velocity_change`: (cells, 2), cells row-major, systems one after another.

        du(cell) = g [ sum_k (c_k + v_k . d) b_k(cell) + v + M d ]

    by definition, with g the flow's strain per cell, b_k the vectors of `FlowEncoder`, d the cell's
    offset from its patch's centre, and c_k, v_k, v, M scalars, vectors and a matrix (a symmetric
    traceless one) of the token. Components are in the grid's own frame.
    """

    normalisation: ClassVar[Any] = "none"
    dim: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("change", "velocity_scale", "grid_cells", "cell_index")

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.coefficients = ScalarReadout(channels, N_BASIS)
        self.gates = ScalarReadout(channels, 2 * channels)
        self.slopes = nn.Linear(channels, N_BASIS + 1, bias=False)
        self.direct = nn.Linear(channels, 1, bias=False)
        self.start = nn.Parameter(torch.tensor(START))
        for layer in (self.coefficients.outer, self.slopes, self.direct):
            nn.init.normal_(layer.weight, std=0.1 / channels**0.5)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "cells 2"]:
        basis = inputs.extras["change"]
        frame = nn.functional.normalize(inputs.cell[:, :2], dim=-1)[inputs.system]  # (N, 2, 3)
        d = offsets(round(basis.shape[1] ** 0.5), basis)
        vector_gate, tensor_gate = self.gates(features.scalars).unsqueeze(1).chunk(2, dim=-1)
        slopes = self.slopes(features.vectors * vector_gate)
        slopes = torch.einsum("nai,nik->nka", frame, slopes)  # (N, K + 1, 2)
        c = (self.start + self.coefficients(features.scalars)).unsqueeze(1)
        c = c + torch.einsum("nka,ca->nck", slopes[:, :-1], d)
        change = torch.einsum("nck,ncik->nci", c, basis)
        solid = to_matrix(self.direct(features.tensors * tensor_gate)).squeeze(-1)
        matrix = torch.einsum("nai,nij,nbj->nab", frame, solid, frame)
        change = change + slopes[:, -1].unsqueeze(1) + torch.einsum("nab,cb->nca", matrix, d)
        scale = inputs.extras["velocity_scale"][inputs.system]
        return on_grid(scale[:, None, None] * change, inputs)
