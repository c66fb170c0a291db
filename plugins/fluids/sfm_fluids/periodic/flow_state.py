"""The state of two-dimensional flows: on the grid, as modes, and in chunks that fit the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Complex
from torch import Tensor

from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.transforms_2d import arranged, columns, to_modes, to_points

CACHE = 2**17  # grid points that are advanced together on a processor


class FlowState(NamedTuple):
    """B flows at one time: vorticity (B, H, W), mean velocity (B, 2), time ().

    scalars: (B, S, H, W), or None where the simulator carries none.
    """

    vorticity: Tensor
    mean_velocity: Tensor
    time: Tensor
    scalars: Tensor | None = None


def modes_of(state: FlowState, grid: Grid) -> Complex[Tensor, "*B fields H K"]:
    """Modes (..., 1 + S, H, K) of a state (B, H, W), without the vorticity's mean and what the 2/3
    rule drops."""
    fields = state.vorticity.unsqueeze(-3)
    if state.scalars is not None:
        fields = torch.cat((fields, state.scalars), -3)
    keep = grid.dealias_mask(device=fields.device)[:, : columns(grid)].to(fields.dtype)
    keep = keep.expand(fields.shape[-3], *keep.shape).clone()
    keep[0, 0, 0] = 0.0
    return to_modes(fields, grid) * arranged(keep, grid)


def with_modes(state: FlowState, modes: Complex[Tensor, "*B fields H K"], grid: Grid) -> FlowState:
    """The state (B, H, W) with the vorticity and scalars of modes (..., 1 + S, H, K)."""
    fields = to_points(modes, grid)
    scalars = None if state.scalars is None else fields[..., 1:, :, :]
    return state._replace(vorticity=fields[..., 0, :, :], scalars=scalars)


def in_chunks(
    state: FlowState, size: int, advance: Callable[[FlowState, int], FlowState]
) -> FlowState:
    """`advance(chunk, number of its first flow)` of `size` flows at a time, as one state."""
    omegas, means = state.vorticity.split(size), state.mean_velocity.split(size)
    scalars = None if state.scalars is None else state.scalars.split(size)
    ends = [
        advance(
            FlowState(omega, means[i], state.time, None if scalars is None else scalars[i]),
            i * size,
        )
        for i, omega in enumerate(omegas)
    ]
    return FlowState(
        torch.cat([end.vorticity for end in ends]),
        torch.cat([end.mean_velocity for end in ends]),
        ends[0].time,
        None if scalars is None else torch.cat([end.scalars for end in ends]),  # type: ignore[misc]
    )
