"""Head of a line's later states: what the trunk adds to the classical forecast.

The forecast is the closed form of E. Hopf, Comm. Pure Appl. Math. 3, 201 (1950) and J. D. Cole, Q.
Appl. Math. 9, 225 (1951), in `sfm_fluids.periodic.burgers_points`; that what is missing is a vector
along the line is this head's ansatz. Any consistent system of units.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.nn.head import Head, ScalarReadout
from sfm.quantity import Quantity
from sfm_fluids.patches.line_encoder import STEPS


class LineHead(Head):
    """`velocity`: (16 N,), state after state, systems one after another.

        u_k(point) = forecast_k + g sum_c w_kc v_c

    with g the field's deviation from its mean and v the token's gated vectors along the line.
    """

    normalisation: ClassVar[Any] = "none"
    needs: ClassVar[tuple[str, ...]] = ("forecast", "velocity_scale", "grid_cells")

    def __init__(self, quantity: Quantity, channels: int, **options: Any) -> None:
        super().__init__(quantity, channels, **options)
        self.gate = ScalarReadout(channels, channels)
        self.outer = nn.Linear(channels, STEPS, bias=False)
        nn.init.normal_(self.outer.weight, std=0.1 / channels**0.5)

    def forward(self, features: Tokens, inputs: Tokens) -> Float[Tensor, " rows"]:
        along = nn.functional.normalize(inputs.cell[:, 0], dim=-1)[inputs.system].to(
            features.vectors
        )
        vectors = torch.einsum("ni,nic->nc", along, features.vectors)
        scale = inputs.extras["velocity_scale"][inputs.system].unsqueeze(1).to(vectors)
        change = scale * self.outer(vectors * self.gate(features.scalars))
        states = inputs.extras["forecast"].to(change) + change  # (N, 16)
        return torch.cat([s.T.flatten() for s in states.split(inputs.counts().tolist())])
