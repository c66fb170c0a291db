"""Passive scalars that a two-dimensional flow carries, in the units of the box.

    ds/dt + u . grad s = kappa lap s - u . G,

s the departure from a mean that grows as G . x; Z. Warhaft, Annu. Rev. Fluid Mech. 32, 203 (2000).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError
from sfm.simulate import Parameter, Setting, Simulator
from sfm_fluids.flows.flows_2d import random_vorticity
from sfm_fluids.spectral.grid_2d import Grid

PARAMETERS = (
    Parameter("scalar_diffusivity", "1", 1e-3, 0.0, math.inf, "kappa of the scalars"),
    Parameter("scalar_gradient_x", "1", 0.0, summary="G_x, mean gradient of the scalars"),
    Parameter("scalar_gradient_y", "1", 0.0, summary="G_y, mean gradient of the scalars"),
)
COUNT = Setting("scalars", 0, summary="S, number of passive scalars")


def per_scalar(simulator: Simulator, name: str, count: int) -> Float[Tensor, "*B S"]:
    """One of `PARAMETERS`, (S,) or (B, S).

    Raises:
        InputError: it has another number of values than there are scalars.
    """
    value: Tensor = getattr(simulator, name)
    if value.ndim and value.shape[-1] != count:
        raise InputError(
            f"{simulator.part}: {name} has shape {tuple(value.shape)}, not () or "
            f"(..., {count}), one for each scalar"
        )
    return value if value.ndim else value.expand(count)


def mean_gradient(simulator: Simulator, count: int) -> Float[Tensor, "*B S 2"]:
    """G, (S, 2) or (B, S, 2)."""
    names = ("scalar_gradient_x", "scalar_gradient_y")
    return torch.stack([per_scalar(simulator, name, count) for name in names], -1)


def with_diffusion(
    linear: Float[Tensor, "... 1 H K"],
    diffusivity: Float[Tensor, "... S"],
    k2: Float[Tensor, "... H K"],
) -> Float[Tensor, "... S+1 H K"]:
    """The linear operator (..., 1, H, K) of the flow, with -kappa k^2 of each scalar after it."""
    mixing = -diffusivity.double()[..., None, None] * k2
    lead = torch.broadcast_shapes(linear.shape[:-3], mixing.shape[:-3])
    both = (linear.expand(*lead, *linear.shape[-3:]), mixing.expand(*lead, *mixing.shape[-3:]))
    return torch.cat(both, -3)


def smooth_fields(grid: Grid, count: int, seed: int) -> Float[Tensor, "{count} H W"]:
    """(S, H, W) random, with a root-mean-square of 1."""
    seeds = range(seed + 1, seed + 1 + count)
    scalars = torch.stack([random_vorticity(grid, 3.0, 1.0, n) for n in seeds])
    return scalars / scalars.square().mean((-2, -1), keepdim=True).sqrt()
