"""Heads of fields at the points of a mesh: a vector in its plane, or a number.

Both are this plugin's own ansatz, without a source: what the trunk says of a point, in units of
the label's root mean square. Points of the boundary, where other laws hold, have a readout of their
own. Any consistent system of units.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.nn.head import Head, Normalisation, ScalarReadout
from sfm.quantity import Quantity


class PointScalar(Head):
    """A number per point, (points,), systems one after another."""

    normalisation: ClassVar[Normalisation] = "rms"
    dim: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("mesh_boundary", "grid_cells")

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.readout = ScalarReadout(channels, 2)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " rows"]:
        outer = inputs.extras["mesh_boundary"]
        values = self.readout(features.scalars)
        return torch.where(outer, values[:, 1], values[:, 0])


class PointVector(Head):
    """A vector in the plane per point, (points, 2), systems one after another.

        u = sum_c w_c g_c v_c,    in the frame of the mesh's points

    by definition, with v the token's vectors and g gates from its scalars; w are others on the
    boundary.
    """

    normalisation: ClassVar[Normalisation] = "rms"
    dim: ClassVar[int] = 2
    needs: ClassVar[tuple[str, ...]] = ("mesh_boundary", "grid_cells")

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.gates = ScalarReadout(channels, channels)
        self.outer = nn.Linear(channels, 2, bias=False)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, "rows 2"]:
        outer = inputs.extras["mesh_boundary"]
        gated = features.vectors * self.gates(features.scalars).unsqueeze(1)
        values = self.outer(gated)[:, :2]
        return torch.where(outer[:, None], values[..., 1], values[..., 0])
