"""A finite-volume scheme with trained numbers in it: a stencil of face values, and a stress.

The leading error of central finite volumes is that they carry short waves too slowly, in proportion
to the velocity itself: no stress that is the same for every observer can mend that. So advected and
advecting velocities come from a trained stencil (84 numbers, the same everywhere), and the rest,
what the grid does not hold, from `FaceStress`.

Any consistent system of units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.learned.face_stress import FaceStress
from sfm_fluids.learned.interpolation import ACROSS, SIDES

if TYPE_CHECKING:
    from sfm_fluids.staggered.interpolation import FaceValues

REACH = 2  # cells on either side that a stencil sees
SIZE = 2 * REACH + 1
FOURTH = (-1 / 16, 9 / 16, 9 / 16, -1 / 16)  # of the value midway, across a side


class Stencil(nn.Module):
    """u, v (..., H, W) on the faces of a periodic box, spacing (dy, dx) -> `FaceValues`.

    An advected value is a sum of the 20 around it, 4 across the side and 5 along it, with trained
    weights that add up to one. The advecting velocities are the means of neighbours of u and v
    after one trained filter of 3 x 3 cells, the same for both, whose weights add up to one: it
    commutes with the divergence, so mass stays conserved. At the start the advected values are
    interpolated to fourth order across the side, and the filter does nothing. All eight are one
    convolution. Differentiable in the velocities and the weights.
    """

    options: ClassVar[tuple[str, ...]] = ()
    start: Tensor
    moves: Tensor

    def __init__(self) -> None:
        super().__init__()
        start, moves = _kernels()
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("moves", moves, persistent=False)
        self.change = nn.Parameter(torch.zeros(len(moves)))

    def kernel(self) -> Float[Tensor, "8 2 5 5"]:
        """Of the four advecting and the four advected values, in the order of `FaceValues`."""
        kernel = self.start + self.change.to(self.moves.dtype) @ self.moves
        return kernel.view(2 * len(SIDES), 2, SIZE, SIZE)

    def both(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> tuple[FaceValues, FaceValues]:
        """The advecting and the advected values, (..., H, W) each."""
        from sfm_fluids.staggered.interpolation import FaceValues

        x = torch.stack((u, v), -3).reshape(-1, 2, *u.shape[-2:])
        x = nn.functional.pad(x, (REACH,) * 4, mode="circular")
        x = nn.functional.conv2d(x, self.kernel().to(u.dtype))
        values = x.reshape(*u.shape[:-2], 2 * len(SIDES), *u.shape[-2:]).unbind(-3)
        return FaceValues(*values[: len(SIDES)]), FaceValues(*values[len(SIDES) :])

    def forward(
        self, u: Float[Tensor, "*B H W"], v: Float[Tensor, "*B H W"], spacing: tuple[float, float]
    ) -> FaceValues:
        return self.both(u, v, spacing)[1]


def _kernels() -> tuple[Tensor, Tensor]:
    """The eight kernels at the start, (400,), and what each trained number adds, (84, 400)."""
    shape = (2, len(SIDES), 2, SIZE, SIZE)  # advecting or advected; side; component; y; x
    start, filters, weights = torch.zeros(shape).double(), [], []
    basis = {n: torch.linalg.svd(torch.ones(1, n).double())[2][1:] for n in (9, ACROSS * SIZE)}
    for side, (component, first, axis) in enumerate(SIDES.values()):
        low = REACH + first  # of the four entries across the side
        # views with the axis across the side in front
        advecting, advected = (x[side, component] for x in start)
        mean = torch.tensor((0.0, 0.5, 0.5, 0.0)).double()
        _across(advecting, axis)[low : low + ACROSS, REACH] = mean
        _across(advected, axis)[low : low + ACROSS, REACH] = torch.tensor(FOURTH).double()
        for change in basis[ACROSS * SIZE]:
            move = torch.zeros(shape).double()
            _across(move[1, side, component], axis)[low : low + ACROSS] = change.view(ACROSS, SIZE)
            weights.append(move)
    for change in basis[9].view(-1, 3, 3):
        move = torch.zeros(shape).double()
        for y, row in enumerate(change, -1):
            for x, value in enumerate(row, -1):
                move[0] += value * start[0].roll((y, x), (-2, -1))
        filters.append(move)
    return start.flatten(), torch.stack(filters + weights).flatten(1)


def _across(kernel: Tensor, axis: int) -> Tensor:
    """(y, x) of a kernel with the axis across the side first."""
    return kernel.T if axis == -1 else kernel


class LearnedScheme(nn.Module):
    """A `Stencil` and, with channels, a `FaceStress`, for `fluids/finite-volume-2d`.

        FiniteVolume2D(height=32, width=32, dt=0.125, **scheme.parts())

    Args:
        layers: of the stress.
        channels: of its hidden layers; 0 for the stencil alone.
        last: of its last kernel, 3 or 1.
        hold: steps through which the simulator keeps the stress.
        seed: of the first weights.

    Raises:
        InputError: as `FaceStress`.
    """

    options: ClassVar[tuple[str, ...]] = ("layers", "channels", "last", "hold")

    def __init__(
        self,
        *,
        layers: int = 3,
        channels: int = 16,
        last: int = 3,
        hold: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if channels < 0:
            raise InputError(f"channels={channels} must be at least 0")
        self.layers, self.channels, self.last, self.hold = layers, channels, last, hold
        self.interpolation = Stencil()
        self.correction = None
        if channels:
            self.correction = FaceStress(layers=layers, channels=channels, last=last, seed=seed)

    def parts(self) -> dict[str, Any]:
        """What the simulator is given, by the names of its arguments."""
        parts: dict[str, Any] = {"interpolation": self.interpolation}
        if self.correction is not None:
            parts |= {"correction": self.correction, "hold": self.hold}
        return parts
