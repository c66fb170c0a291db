"""Learned interpolation for the finite-volume solver (D. Kochkov et al., PNAS 118, e2101784118).

The advected velocity on a side of a volume is a weighted sum of the 12 values around it, 4 across
the side and 3 along it:

    c_side = sum_k w_k(u, v) c_k,    sum_k w_k = 1,

with weights that a periodic convolutional network finds from the flow. The constraint is built in:
w = w_linear + N z, where the columns of N span all that sums to zero. So constants are exact
whatever the network says, and the solver stays conservative. A network that says nothing gives the
central scheme.

Any consistent system of units.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError

if TYPE_CHECKING:
    from sfm_fluids.staggered.interpolation import FaceValues

ACROSS, ALONG = 4, 3
POINTS = ACROSS * ALONG

# first offset across the side, of the entry that has the side at its own index; and the axis
SIDES: dict[str, tuple[int, int, int]] = {
    "u_centre": (0, -1, -1),  # between i and i + 1: entries i - 1 ... i + 2
    "u_corner": (0, -2, -2),  # between j - 1 and j: entries j - 2 ... j + 1
    "v_corner": (1, -2, -1),
    "v_centre": (1, -1, -2),
}


class LearnedInterpolation(nn.Module):
    """u, v (..., H, W) on the faces of a periodic box, spacing (dy, dx) -> `FaceValues`.

    It goes into `fluids/finite-volume-2d` in the place of its interpolation. Commutes with shifts
    by a cell and Galilean boosts; square cells. Differentiable in the velocities and the weights.

    Args:
        layers: of 3 x 3 convolutions.
        channels: of hidden layers.
        seed: of the first weights.

    Raises:
        InputError: fewer than two layers or one channel.
    """

    options: ClassVar[tuple[str, ...]] = ("layers", "channels")
    null: Tensor
    linear: Tensor

    def __init__(self, *, layers: int = 3, channels: int = 24, seed: int = 0) -> None:
        super().__init__()
        if layers < 2 or channels < 1:
            raise InputError(f"layers={layers} and channels={channels} must be at least 2 and 1")
        self.layers, self.channels = layers, channels
        widths = [2, *[channels] * (layers - 1), len(SIDES) * (POINTS - 1)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.convolutions = nn.ModuleList(
                nn.Conv2d(i, o, 3, padding=1, padding_mode="circular") for i, o in pairwise(widths)
            )
        last = self.convolutions[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        linear = torch.zeros(ACROSS, ALONG, dtype=torch.float64)
        linear[1:3, 1] = 0.5
        _, _, basis = torch.linalg.svd(torch.ones(1, POINTS, dtype=torch.float64))
        self.register_buffer("null", basis[1:].T.contiguous(), persistent=False)
        self.register_buffer("linear", linear.flatten(), persistent=False)

    def forward(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> FaceValues:
        from sfm_fluids.staggered.interpolation import FaceValues

        weights = self.weights(u, v)
        values = {}
        for number, (name, (component, first, axis)) in enumerate(SIDES.items()):
            field = (u, v)[component]
            other = -1 if axis == -2 else -2
            points = torch.stack(
                [
                    field.roll((-(first + i), -j), (axis, other))
                    for i in range(ACROSS)
                    for j in (-1, 0, 1)
                ],
                dim=-3,
            )
            values[name] = (weights[..., number, :, :, :] * points).sum(-3)
        return FaceValues(**values)

    def weights(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"]
    ) -> Float[Tensor, "*B 4 12 H W"]:
        """(..., 4, 12, H, W), each dozen with the sum 1."""
        x = torch.stack((u, v), -3)
        x = x - x.mean((-2, -1), keepdim=True)
        tiny = torch.finfo(x.dtype).tiny * 1e6
        x = x * torch.rsqrt(x.square().mean((-3, -2, -1), keepdim=True) + tiny)
        batch = x.shape[:-3]
        x = x.reshape(-1, *x.shape[-3:]).to(self.convolutions[0].weight.dtype)  # type: ignore[arg-type]
        for number, layer in enumerate(self.convolutions):
            x = layer(x)
            x = nn.functional.silu(x) if number < self.layers - 1 else x
        free = x.to(u.dtype).unflatten(1, (len(SIDES), POINTS - 1))
        moved = torch.einsum("pz,bszyx->bspyx", self.null.to(u.dtype), free)
        weights = self.linear.to(u.dtype)[:, None, None] + moved
        return weights.reshape(*batch, *weights.shape[1:])
