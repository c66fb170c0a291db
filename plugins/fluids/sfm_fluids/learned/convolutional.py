"""A plain convolutional closure: the baseline without symmetry. Any consistent system of units."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError


class ConvolutionalClosure(nn.Module):
    """velocity (B, 2, H, W), spacing -> tau (B, 2, 2, H, W), without trace.

    Periodic 3 x 3 convolutions on the fluctuating velocity over its root mean square. So it
    commutes with shifts by a cell and with Galilean boosts, and scales with the square of the
    velocity, but knows nothing of rotations and reflections: it has to learn them.

    Args:
        layers: of convolutions; the receptive field has 2 layers + 1 cells along a side.
        channels: of hidden layers.
        filter_ratio: see `LocalClosure`.
        seed: of the first weights.

    Raises:
        InputError: fewer than two layers or one channel.
    """

    options: ClassVar[tuple[str, ...]] = ("layers", "channels", "filter_ratio")

    def __init__(
        self, *, layers: int = 4, channels: int = 24, filter_ratio: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if layers < 2 or channels < 1:
            raise InputError(f"layers={layers} and channels={channels} must be at least 2 and 1")
        self.layers, self.channels, self.filter_ratio = layers, channels, filter_ratio
        widths = [2, *[channels] * (layers - 1), 2]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.convolutions = nn.ModuleList(
                nn.Conv2d(i, o, 3, padding=1, padding_mode="circular") for i, o in pairwise(widths)
            )
        with torch.no_grad():
            self.convolutions[-1].weight.mul_(0.1)  # type: ignore[operator]
            self.convolutions[-1].bias.zero_()  # type: ignore[operator]

    def forward(
        self, velocity: Float[Tensor, "B 2 H W"], spacing: float
    ) -> Float[Tensor, "B 2 2 H W"]:
        x = velocity - velocity.mean((-2, -1), keepdim=True)
        tiny = torch.finfo(velocity.dtype).tiny * 1e6
        scale = torch.sqrt(x.square().sum(1, keepdim=True).mean((-2, -1), keepdim=True) + tiny)
        x = (x / scale).to(self.convolutions[0].weight.dtype)  # type: ignore[arg-type]
        for number, layer in enumerate(self.convolutions):
            x = layer(x)
            x = nn.functional.silu(x) if number < self.layers - 1 else x
        p, q = (x.to(velocity.dtype) * scale.square()).unbind(1)
        return torch.stack((torch.stack((p, q), 1), torch.stack((q, -p), 1)), 1)
