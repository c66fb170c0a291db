"""A learned correction of finite volumes: a stress on the sides of the momentum's volumes.

The step of a coarse solver is wrong by what the grid does not hold (the subgrid stress) and by what
its differences leave out (the truncation error of advection). Both are divergences, so one stress
without trace corrects them and the momentum stays conserved:

    du/dt + ... = -dp/dx - dq/dy,    dv/dt + ... = -dq/dx + dp/dy,
    p = (tau_xx - tau_yy) / 2 at the cells' centres,  q = tau_xy at their corners.

A small periodic convolutional network finds (p, q) from the differences of neighbouring velocities,
in units of their root mean square g, and is multiplied by g^2. That is the learned correction of
D. Kochkov et al., PNAS 118, e2101784118 (2021) in conservative form, trained through the solver.

Any consistent system of units.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError


class FaceStress(nn.Module):
    """u, v (..., H, W) on the faces of a periodic box, spacing (dy, dx) -> p, q (..., H, W).

    It goes into `fluids/finite-volume-2d` as its `correction`. Commutes with shifts by a cell and
    with Galilean boosts, and scales with the square of the velocity; knows nothing of rotations.
    It holds for the grid and the time step that it was trained at; square cells. The activations
    are rectifiers: differentiable almost everywhere.

    Args:
        layers: of convolutions, 3 x 3 but for the last; the receptive field has 2 layers + last - 1
            cells along a side.
        channels: of hidden layers.
        last: cells along a side of the last layer's kernel, 3 or 1; two channels out are as dear as
            eight, so that 1 saves a third of the time of three layers.
        seed: of the first weights.

    Raises:
        InputError: fewer than two layers or one channel, or another last kernel.
    """

    options: ClassVar[tuple[str, ...]] = ("layers", "channels", "last")

    def __init__(
        self, *, layers: int = 3, channels: int = 16, last: int = 3, seed: int = 0
    ) -> None:
        super().__init__()
        if layers < 2 or channels < 1:
            raise InputError(f"layers={layers} and channels={channels} must be at least 2 and 1")
        if last not in (1, 3):
            raise InputError(f"last={last} must be 1 or 3")
        self.layers, self.channels, self.last = layers, channels, last
        widths = [3, *[channels] * (layers - 1), 2]
        sizes = [3] * (layers - 1) + [last]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.convolutions = nn.ModuleList(
                nn.Conv2d(i, o, n) for (i, o), n in zip(pairwise(widths), sizes, strict=True)
            )
        out = self.convolutions[-1]
        nn.init.zeros_(out.weight)  # type: ignore[arg-type]
        nn.init.zeros_(out.bias)  # type: ignore[arg-type]
        for weight in self.parameters():
            if weight.ndim == 4:  # a fifth faster on the CPU
                weight.data = weight.data.to(memory_format=torch.channels_last)

    def forward(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> tuple[Float[Tensor, "*B H W"], Float[Tensor, "*B H W"]]:
        jumps = torch.stack((u.roll(-1, -1) - u, u - u.roll(1, -2), v - v.roll(1, -1)), -3)
        tiny = torch.finfo(jumps.dtype).tiny * 1e6
        square = jumps.square().mean((-3, -2, -1), keepdim=True) + tiny
        x = (jumps * torch.rsqrt(square)).reshape(-1, *jumps.shape[-3:])
        reach = self.layers - 1 + (self.last == 3)
        x = nn.functional.pad(x, (reach,) * 4, mode="circular")
        x = x.to(self.convolutions[0].weight.dtype, memory_format=torch.channels_last)  # type: ignore[arg-type]
        for number, layer in enumerate(self.convolutions):
            x = layer(x)
            x = x.relu_() if number < self.layers - 1 else x
        stress = x.to(u.dtype).reshape(*u.shape[:-2], 2, *u.shape[-2:]) * square
        return stress[..., 0, :, :], stress[..., 1, :, :]
