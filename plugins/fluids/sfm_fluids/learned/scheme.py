"""A finite-volume scheme with trained numbers in it: a stencil of face values, and a stress.

The leading error of central finite volumes is that they carry short waves too slowly, in proportion
to the velocity itself: no stress that is the same for every observer can mend that. So the advected
face values come from a trained stencil (48 numbers, the same everywhere), and the rest, what the
grid does not hold, from `FaceStress`.

Any consistent system of units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.learned.face_stress import FaceStress
from sfm_fluids.learned.interpolation import ACROSS, ALONG, POINTS, SIDES

if TYPE_CHECKING:
    from sfm_fluids.staggered.interpolation import FaceValues

REACH = 2  # cells on either side that a stencil sees
FOURTH = (-1 / 16, 9 / 16, 9 / 16, -1 / 16)  # of the value midway, across a side


class Stencil(nn.Module):
    """u, v (..., H, W) on the faces of a periodic box, spacing (dy, dx) -> `FaceValues`.

    Each value is a sum of the 12 around it, 4 across the side and 3 along it, with trained weights
    that add up to one. It starts as the interpolation of fourth order across the side.
    Differentiable in the velocities and the weights.
    """

    options: ClassVar[tuple[str, ...]] = ()
    null: Tensor
    start: Tensor
    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        start = torch.zeros(ACROSS, ALONG, dtype=torch.float64)
        start[:, 1] = torch.tensor(FOURTH, dtype=torch.float64)
        _, _, basis = torch.linalg.svd(torch.ones(1, POINTS, dtype=torch.float64))
        self.register_buffer("null", basis[1:].contiguous(), persistent=False)
        self.register_buffer("start", start.flatten(), persistent=False)
        size = 2 * REACH + 1
        taps = []
        for component, first, axis in SIDES.values():
            across, along = (1, size) if axis == -1 else (size, 1)  # in the kernel's memory
            start_at = component * size * size + (REACH + first) * across + REACH * along
            taps += [start_at + i * across + j * along for i in range(ACROSS) for j in range(-1, 2)]
        self.register_buffer("taps", torch.tensor(taps).view(len(SIDES), POINTS), persistent=False)
        self.change = nn.Parameter(torch.zeros(len(SIDES), POINTS - 1))

    def weights(self) -> Float[Tensor, "4 12"]:
        """Of the four sides in the order of `FaceValues`; each dozen has the sum 1."""
        return self.start.to(self.change.dtype) + self.change @ self.null.to(self.change.dtype)

    def forward(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> FaceValues:
        from sfm_fluids.staggered.interpolation import FaceValues

        size = 2 * REACH + 1
        weights = self.weights().to(u.dtype)
        kernel = weights.new_zeros(len(SIDES), 2 * size * size).scatter(1, self.taps, weights)
        x = torch.stack((u, v), -3).reshape(-1, 2, *u.shape[-2:])
        x = nn.functional.pad(x, (REACH,) * 4, mode="circular")
        x = nn.functional.conv2d(x, kernel.view(len(SIDES), 2, size, size))
        values = x.reshape(*u.shape[:-2], len(SIDES), *u.shape[-2:]).unbind(-3)
        return FaceValues(*values)


class LearnedScheme(nn.Module):
    """A `Stencil` and, with channels, a `FaceStress`, for `fluids/finite-volume-2d`.

        FiniteVolume2D(height=32, width=32, dt=0.125, **scheme.parts())

    Args:
        layers: of the stress.
        channels: of its hidden layers; 0 for the stencil alone.
        seed: of the first weights.

    Raises:
        InputError: as `FaceStress`.
    """

    options: ClassVar[tuple[str, ...]] = ("layers", "channels")

    def __init__(self, *, layers: int = 3, channels: int = 16, seed: int = 0) -> None:
        super().__init__()
        if channels < 0:
            raise InputError(f"channels={channels} must be at least 0")
        self.layers, self.channels = layers, channels
        self.interpolation = Stencil()
        self.correction = None
        if channels:
            self.correction = FaceStress(layers=layers, channels=channels, seed=seed)

    def parts(self) -> dict[str, Any]:
        """What the simulator is given, by the names of its arguments."""
        return {"interpolation": self.interpolation, "correction": self.correction}
