"""Galilean-invariant tensors of every grid cell, and their geometric moments over a patch.

In two dimensions a traceless velocity gradient is three numbers, G = [[a, b + w], [b - w, -a]]:
the strain S = [[a, b], [b, -a]] and the rotation W = w [[0, 1], [-1, 0]]. w = -omega/2 is a
pseudo-scalar, so it enters through R = S W - W S = 2 w [[-b, a], [a, b]] and w^2 only; with the
Laplacian L of the velocity these are tensors of natural parity (0e, 1o, 2e); derived here.

Cells and patches are square; gradients are per cell (spacing 1), so nothing depends on the box.
Velocities are in any unit, gradients in that unit per cell.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm_fluids.spectral.grid_2d import Grid, laplacian, velocity_gradient


class CellTensors(NamedTuple):
    """Per cell of B fields; a, b, w, lx, ly are (B, H, W), divided by `scale` (B,).

    scale is the root mean square of S_ij per cell width: a velocity.
    """

    a: Tensor
    b: Tensor
    w: Tensor
    lx: Tensor
    ly: Tensor
    scale: Tensor


def cell_tensors(velocity: Float[Tensor, "B 2 H W"]) -> CellTensors:
    """From a periodic velocity (B, 2, H, W); differentiable. A uniform flow gives zeros.

    Derivatives are taken in float64 and cast: transforms along x and y round differently, which
    float32 would turn into a stress that does not follow the grid's rotations to 1e-6.
    """
    height, width = velocity.shape[-2:]
    grid = Grid(height, width, float(height), float(width))
    dtype, velocity = velocity.dtype, velocity.double()
    fluctuation = velocity - velocity.mean((-2, -1), keepdim=True)
    g = velocity_gradient(fluctuation, grid)
    a = 0.5 * (g[:, 0, 0] - g[:, 1, 1])
    b = 0.5 * (g[:, 0, 1] + g[:, 1, 0])
    w = 0.5 * (g[:, 0, 1] - g[:, 1, 0])
    tiny = torch.finfo(dtype).tiny * 1e6
    scale = torch.sqrt(2 * (a * a + b * b).mean((-2, -1)) + tiny)
    lap = laplacian(fluctuation, grid)
    by = scale[:, None, None]
    cells = (a / by, b / by, w / by, lap[:, 0] / by, lap[:, 1] / by, scale)
    return CellTensors(*(c.to(dtype) for c in cells))


class PatchFeatures(NamedTuple):
    """Of B fields' patches, row-major: (B, n, F0), (B, n, 2, F1), (B, n, 2, 2, F2)."""

    scalars: Tensor
    vectors: Tensor
    matrices: Tensor


N_SCALARS, N_VECTORS, N_MATRICES = 8, 5, 5


def patches_of(field: Shaped[Tensor, "B H W ..."], size: int) -> Shaped[Tensor, "B n cells ..."]:
    """(B, H, W, ...) -> (B, n, size * size, ...): patches row-major, cells row-major in a patch."""
    batch, height, width, *rest = field.shape
    split = field.reshape(batch, height // size, size, width // size, size, *rest)
    return split.transpose(2, 3).reshape(batch, -1, size * size, *rest)


def offsets(size: int, like: Float[Tensor, " ..."]) -> Float[Tensor, "cells 2"]:
    """(size * size, 2): (x, y) of a patch's cells from its centre, in patch widths."""
    line = (torch.arange(size, dtype=like.dtype, device=like.device) - (size - 1) / 2) / size
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((x, y), dim=-1).reshape(-1, 2)


def _matrix(p: Tensor, q: Tensor) -> Tensor:
    """[[p, q], [q, -p]]."""
    return torch.stack((torch.stack((p, q), -1), torch.stack((q, -p), -1)), -2)


def patch_features(cells: CellTensors, size: int) -> PatchFeatures:
    """Raw features of every patch. Heavy tails are tamed by q = 1/sqrt(1 + S:S/2 + w^2)."""
    a, b, w, lx, ly, _ = cells
    s2, w2, l2 = a * a + b * b, w * w, lx * lx + ly * ly
    q = torch.rsqrt(1 + s2 + w2)
    lap = torch.stack((lx, ly), -1)
    strained = torch.stack((a * lx + b * ly, b * lx - a * ly), -1) * q[..., None]
    turned = torch.stack((w * ly, -w * lx), -1) * q[..., None]
    shear = _matrix(a, b)
    product = _matrix(-2 * w * b * q, 2 * w * a * q)
    lap_squared = _matrix(0.5 * (lx * lx - ly * ly), lx * ly) * torch.rsqrt(1 + l2)[..., None, None]

    d = offsets(size, a)
    p_s2, p_w2 = patches_of(s2 * q, size), patches_of(w2 * q, size)
    vectors = [patches_of(v, size).mean(2) for v in (lap, strained, turned)]
    vectors += [torch.einsum("bnc,ci->bni", p, d) for p in (p_s2, p_w2)]
    square = torch.einsum("ci,cj->cij", d, d)
    matrices = [patches_of(m, size).mean(2) for m in (shear, product, lap_squared)]
    matrices += [torch.einsum("bnc,cij->bnij", p, square) for p in (p_s2, p_w2)]

    mean_s2, mean_w2, mean_l2 = (patches_of(x, size).mean(2) for x in (s2, w2, l2))
    flat_s2 = s2.flatten(1)
    shape_of_flow = torch.stack(
        (torch.log(l2.flatten(1).mean(1) + 1e-6), torch.log(flat_s2.square().mean(1) + 1e-6)), -1
    )
    scalars = torch.cat(
        (
            torch.stack(
                (
                    torch.log1p(mean_s2),
                    torch.log1p(mean_w2),
                    torch.log1p(mean_l2),
                    (mean_s2 - mean_w2) / (1 + mean_s2 + mean_w2),
                    torch.log1p(patches_of(s2, size).var(2, unbiased=False)),
                    torch.log1p(patches_of(w2, size).var(2, unbiased=False)),
                ),
                -1,
            ),
            shape_of_flow[:, None].expand(-1, mean_s2.shape[1], -1),
        ),
        -1,
    )
    return PatchFeatures(scalars, torch.stack(vectors, -1), torch.stack(matrices, -1))
