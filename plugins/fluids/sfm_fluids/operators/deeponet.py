"""DeepONet on a grid: a branch network reads the field at sensors, a trunk network the place.

    out_k(x) = p^(-1/2) sum_j branch_kj(fields at the sensors) trunk_j(x) + bias_k

with p products; the root, which the source has not, keeps answers at the size of their factors. The
sensors are the training grid's points; a field on a finer grid whose sides are multiples is
read at every so many points, and the answer is given at all of its own.

Source: L. Lu, P. Jin, G. Pang, Z. Zhang, G. E. Karniadakis, Nature Machine Intelligence 3, 218
(2021), arXiv:1910.03193.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError

FREQUENCIES = 4


class DeepONet(nn.Module):
    """(B, C, *grid) -> (B, K, *grid), dimensionless.

    Args:
        inputs: C, channels in.
        outputs: K, channels out.
        grid: points of the training grid along each axis.
        periodic: whether places are told by sines and cosines alone.
        width: of the hidden layers.
        basis: p, how many products are summed.

    Raises:
        InputError: (call) a grid that is no multiple of the sensors'.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        grid: tuple[int, ...] | list[int],
        periodic: bool = False,
        width: int = 64,
        basis: int = 64,
    ) -> None:
        super().__init__()
        self.outputs, self.grid = outputs, tuple(grid)
        self.periodic, self.basis = periodic, basis
        sensors = inputs * math.prod(self.grid)
        places = len(self.grid) * (2 * FREQUENCIES + (not periodic))
        self.branch = nn.Sequential(
            nn.Linear(sensors, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, outputs * basis),
        )
        self.trunk = nn.Sequential(
            nn.Linear(places, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, basis),
        )
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, field: Float[Tensor, "B C *grid"]) -> Float[Tensor, "B K *grid"]:
        shape = field.shape[2:]
        for axis, (points, sensors) in enumerate(zip(shape, self.grid, strict=True)):
            if points % sensors:
                raise InputError(
                    f"a grid of {tuple(shape)} points; the sensors take multiples of {self.grid}"
                )
            at = torch.arange(0, points, points // sensors, device=field.device)
            field = field.index_select(axis + 2, at)
        branch = self.branch(field.flatten(1)).unflatten(1, (self.outputs, self.basis))
        values = branch @ self.trunk(self._places(shape, field)).T / self.basis**0.5
        answers: Tensor = (values + self.bias[:, None]).unflatten(2, shape)
        return answers

    def _places(self, shape: torch.Size, like: Tensor) -> Tensor:
        """(points, places) what the trunk network is told of each point."""
        axes = [torch.arange(n, dtype=like.dtype, device=like.device) / n for n in shape]
        x = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape), 1)
        waves = (
            2 * math.pi * torch.arange(1, FREQUENCIES + 1, dtype=like.dtype, device=like.device) * x
        )
        told = [waves.sin(), waves.cos()] + ([] if self.periodic else [x])
        return torch.cat(told, -1).flatten(1)
