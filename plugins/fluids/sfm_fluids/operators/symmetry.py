"""The symmetries of a task's grid, drawn at random for training what does not have them built in.

Any consistent system of units.
"""

from __future__ import annotations

import torch
from torch import Tensor

Fields = tuple[Tensor, ...]
VECTORS = (0, 2, 7)  # first channels of velocity, force, and of what the solver changes it by


def turned(fields: Fields, name: str, generator: torch.Generator) -> Fields:
    """One random symmetry of the task `name` on all fields (B, channels, *grid) alike.

    `darcy`: exchange of x and y. `burgers`: shifts, u(x) -> -u(-x). `turbulence`: shifts, quarter
    turns and reflections, where channels 0-1, 2-3 and 7-8 are vectors.
    """
    draw = torch.randint(0, 1 << 20, (4,), generator=generator).tolist()
    if name == "darcy":
        return tuple(f.mT for f in fields) if draw[0] % 2 else fields
    if name == "burgers":
        fields = tuple(f.roll(draw[1], -1) for f in fields)
        return tuple(-f.flip(-1) for f in fields) if draw[0] % 2 else fields
    fields = tuple(f.roll((draw[1], draw[2]), (-2, -1)) for f in fields)
    for _ in range(draw[0] % 4):
        fields = tuple(_quarter(f) for f in fields)
    return tuple(_mirrored(f) for f in fields) if draw[3] % 2 else fields


def _pairs(field: Tensor) -> list[int]:
    """First channels of the vectors that the field (B, channels, H, W) has."""
    return [i for i in VECTORS if i + 1 < field.shape[1]]


def _quarter(field: Tensor) -> Tensor:
    """Every vector as `sfm_fluids.patches.grid_symmetry.quarter_turn`, in torch."""
    moved = torch.rot90(field, dims=(-2, -1))
    new = moved.clone()
    for i in _pairs(field):
        new[:, i], new[:, i + 1] = moved[:, i + 1], -moved[:, i]
    return new


def _mirrored(field: Tensor) -> Tensor:
    """Every vector as `sfm_fluids.patches.grid_symmetry.mirror_x`, in torch."""
    moved = field.flip(-1)
    for i in _pairs(field):
        moved[:, i] = -moved[:, i]
    return moved
