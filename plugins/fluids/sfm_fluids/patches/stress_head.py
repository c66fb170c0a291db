"""Head of the subgrid stress: coefficients from tokens, a tensor basis from every cell's gradient.

    tau(cell) = g^2 [ sum_k c_k(token, cell) T_k(G(cell)) + D(token, cell) ]

with g the sample's root-mean-square strain per cell width, G the cell's velocity gradient over g,
c_k = c_k0 + v_k . d linear in the cell's offset d from the patch's centre, and D a tensor of the
token. The basis holds the terms of Pope's general eddy viscosity (J. Fluid Mech. 72, 331, 1975):
S, S|S|, S W - W S, L L and isotropic terms; the coefficients start at Clark's gradient model.

Units are those of the data: lengths of a box of 2 pi, forces of amplitude 1.
"""

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

# Clark: tau = (3 h)^2 / 12 G G^T = 0.75 h^2 (S:S/2 I + w^2 I - (S W - W S))
CLARK = 0.75
START = (0.0, 0.0, -CLARK, 0.0, CLARK, CLARK, 0.0, 0.0)
# labels come divided by their rms, about a quarter in the bundled data
GAIN = 4.0


def tensor_basis(
    strain: Float[Tensor, "*B 3"], laplacian: Float[Tensor, "*B 2"]
) -> Float[Tensor, "*B 8 2 2"]:
    """T_k of cells: (..., 3), (..., 2) -> (..., K, 2, 2), symmetric, in the grid's frame.

    S, S|S|, S W - W S, dev(L L), and I times S:S/2, w^2, L^2, 1.
    """
    a, b, w = strain.unbind(-1)
    lx, ly = laplacian.unbind(-1)
    s2, l2 = a * a + b * b, lx * lx + ly * ly
    norm = torch.sqrt(s2 + 1e-12)
    zero, damp = torch.zeros_like(a), torch.rsqrt(1 + l2)
    p = torch.stack((a, a * norm, -2 * w * b, 0.5 * (lx * lx - ly * ly) * damp), -1)
    q = torch.stack((b, b * norm, 2 * w * a, lx * ly * damp), -1)
    iso = torch.stack((s2, w * w, l2 * damp, torch.ones_like(a)), -1)
    p = torch.cat((p, zero.unsqueeze(-1).expand(*a.shape, 4)), -1)
    q = torch.cat((q, zero.unsqueeze(-1).expand(*a.shape, 4)), -1)
    i = torch.cat((zero.unsqueeze(-1).expand(*a.shape, 4), iso), -1)
    return torch.stack((torch.stack((i + p, q), -1), torch.stack((q, i - p), -1)), -2)


class StressHead(Head):
    """`sgs_stress`: (cells, 2, 2), cells row-major, systems one after another.

    Components are in the grid's own frame, which the tokens' cell vectors carry: turning the
    tokens in space changes nothing.
    """

    normalisation: ClassVar[Any] = "rms"
    dim: ClassVar[int] = 4
    needs: ClassVar[tuple[str, ...]] = ("strain", "laplacian", "velocity_scale", "grid_cells")

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        k = len(START)
        self.coefficients = ScalarReadout(channels, k)
        self.gates = ScalarReadout(channels, 2 * channels)
        self.slopes = nn.Linear(channels, k + 1, bias=False)
        self.direct = nn.Linear(channels, 1, bias=False)
        self.start = nn.Parameter(torch.tensor(START))
        for layer in (self.coefficients.outer, self.slopes, self.direct):
            nn.init.normal_(layer.weight, std=0.1 / channels**0.5)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "cells 2 2"]:
        strain, laplacian = inputs.extras["strain"], inputs.extras["laplacian"]
        frame = nn.functional.normalize(inputs.cell[:, :2], dim=-1)[inputs.system]  # (N, 2, 3)
        d = offsets(round(strain.shape[1] ** 0.5), strain)
        vector_gate, tensor_gate = self.gates(features.scalars).unsqueeze(1).chunk(2, dim=-1)
        slopes = self.slopes(features.vectors * vector_gate)  # (N, 3, K + 1)
        slopes = torch.einsum("nai,nik->nka", frame, slopes)  # (N, K + 1, 2)
        c = (self.start + self.coefficients(features.scalars)).unsqueeze(1)
        c = c + torch.einsum("nka,ca->nck", slopes[:, :-1], d)
        stress = torch.einsum("nck,nckij->ncij", c, tensor_basis(strain, laplacian))
        solid = to_matrix(self.direct(features.tensors * tensor_gate)).squeeze(-1)
        turned = torch.einsum("nai,nij,nbj->nab", frame, solid, frame).unsqueeze(1)
        outer = torch.einsum("na,cb->ncab", slopes[:, -1], d)
        stress = stress + turned + outer + outer.transpose(-1, -2)
        scale = inputs.extras["velocity_scale"][inputs.system].square()
        stress = GAIN * scale.reshape(-1, 1, 1, 1) * stress
        return on_grid(stress, inputs)


def on_grid(values: Float[Tensor, "N cells ..."], inputs: Tokens) -> Float[Tensor, "rows ..."]:
    """(N, s^2, ...) values of patches' cells -> (cells, ...), row-major in each system."""
    cells = inputs.extras["grid_cells"].long()
    first = torch.cumsum(cells, 0) - cells
    rows = (inputs.extras["cell_index"] + first[inputs.system].unsqueeze(1)).flatten()
    flat = values.flatten(0, 1)
    return torch.zeros_like(flat).index_copy(0, rows, flat)
