"""Derivatives and filters of periodic velocities in two and three dimensions, for closures.

A velocity is (..., 2, H, W) or (..., 3, D, H, W) on square or cubic cells; component 0 is along
the last axis. A symmetric tensor is packed: only its diagonal and what is above it (`pairs`).
Every operator acts along one axis: as a product with a small matrix, which is faster
than transforms there and back up to about a hundred points, and as a transform beyond.

Any consistent system of units.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError

DENSE = 128  # points of an axis up to which the matrix is faster


def dimensions(velocity: Float[Tensor, " ..."]) -> int:
    """2 for (..., 2, H, W), 3 for (..., 3, D, H, W).

    Raises:
        InputError: neither.
    """
    if velocity.ndim >= 3 and velocity.shape[-3] == 2:
        return 2
    if velocity.ndim >= 4 and velocity.shape[-4] == 3:
        return 3
    raise InputError(
        f"a velocity is (..., 2, H, W) or (..., 3, D, H, W), not {tuple(velocity.shape)}"
    )


def velocity_gradient(
    velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"], spacing: float
) -> Float[Tensor, "*B 2 2 H W"] | Float[Tensor, "*B 3 3 D H W"]:
    """G[..., i, j] = d u_i / d x_j, (..., n, n, *grid) in n dimensions."""
    n = dimensions(velocity)
    return torch.stack([derivative(velocity, -1 - j, spacing) for j in range(n)], dim=-n - 1)


def strain_rate(
    velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"], spacing: float
) -> Float[Tensor, "*B 3 H W"] | Float[Tensor, "*B 6 D H W"]:
    """S_ij = (d u_i / d x_j + d u_j / d x_i) / 2 by definition, packed: (..., pairs, *grid)."""
    n = dimensions(velocity)
    slopes = [derivative(velocity, -1 - j, spacing).unbind(-n - 1) for j in range(n)]
    diagonal = [slopes[i][i] for i in range(n)]
    rest = [0.5 * (slopes[j][i] + slopes[i][j]) for i, j in pairs(n)[n:]]
    return torch.stack(diagonal + rest, dim=-n - 1)


def pairs(n: int) -> list[tuple[int, int]]:
    """The components of a packed symmetric tensor: the diagonal, then those above it."""
    return [(i, i) for i in range(n)] + [(i, j) for i in range(n) for j in range(i + 1, n)]


def unpacked(
    tensor: Float[Tensor, "*B 3 H W"] | Float[Tensor, "*B 6 D H W"], n: int
) -> Float[Tensor, "*B 2 2 H W"] | Float[Tensor, "*B 3 3 D H W"]:
    """(..., pairs, *grid) -> (..., n, n, *grid)."""
    place = {pair: number for number, pair in enumerate(pairs(n))}
    order = [place[min(i, j), max(i, j)] for i in range(n) for j in range(n)]
    index = torch.tensor(order, device=tensor.device)
    full: Tensor = tensor.index_select(-n - 1, index).unflatten(-n - 1, (n, n))
    return full


def contracted(
    a: Float[Tensor, "*packed"], b: Float[Tensor, "*packed"], n: int
) -> Float[Tensor, "*contracted"]:
    """a_ij b_ij of two packed tensors, (..., *grid)."""
    product = a * b
    diagonal, rest = product.split((n, n * (n - 1) // 2), dim=-n - 1)
    total: Tensor = diagonal.sum(-n - 1) + 2 * rest.sum(-n - 1)
    return total


def magnitude(
    strain: Float[Tensor, "*B 3 H W"] | Float[Tensor, "*B 6 D H W"], n: int
) -> Float[Tensor, "*B 1 H W"] | Float[Tensor, "*B 1 D H W"]:
    """|S| = sqrt(2 S_ij S_ij) of a packed S, (..., 1, *grid); its derivative at S = 0 is 0."""
    tiny = torch.finfo(strain.dtype).tiny
    return torch.sqrt(2 * contracted(strain, strain, n) + tiny).unsqueeze(-n - 1)


def subgrid_dissipation(
    velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"],
    stress: Float[Tensor, "*B 2 2 H W"] | Float[Tensor, "*B 3 3 D H W"],
    spacing: float,
) -> Float[Tensor, "*B H W"] | Float[Tensor, "*B D H W"]:
    """Energy flux to the subgrid scales, -tau_ij S_ij, (..., *grid). Positive: forward transfer."""
    n = dimensions(velocity)
    return -(stress * velocity_gradient(velocity, spacing)).sum((-n - 1, -n - 2))


def derivative(
    field: Float[Tensor, "*shape"], axis: int, spacing: float
) -> Float[Tensor, "*shape"]:
    """Spectral derivative (..., *grid) along an axis (-1, -2 or -3), per `spacing`.

    The unpaired Nyquist mode is dropped.
    """
    points = field.shape[axis]
    if points <= DENSE:
        matrix = derivative_matrix(points, field.dtype, str(field.device)) / spacing
        return along(field, axis, matrix)
    wave = torch.arange(points // 2 + 1, device=field.device).double()
    wave = wave * (2 * math.pi / points / spacing)
    if points % 2 == 0:
        wave[-1] = 0.0
    shape = [1] * field.ndim
    shape[axis] = len(wave)
    hat = torch.fft.rfft(field, dim=axis) * (1j * wave.to(field.dtype)).reshape(shape)
    slope: Tensor = torch.fft.irfft(hat, n=points, dim=axis)
    return slope


def low_pass(
    field: Float[Tensor, "*shape"], axes: int, cutoff: tuple[int, ...]
) -> Float[Tensor, "*shape"]:
    """The modes of index <= cutoff[a] on each of the last axes, (z,) y, x: a sharp filter."""
    bases = [
        fourier_basis(field.shape[a - axes], cutoff[a], field.dtype, str(field.device))
        for a in range(axes)
    ]
    for a in reversed(range(axes)):
        field = along(field, a - axes, bases[a])
    for a in range(axes):
        field = along(field, a - axes, bases[a].mT)
    return field


def along(
    field: Float[Tensor, "*shape"], axis: int, matrix: Float[Tensor, "rows columns"]
) -> Float[Tensor, " ..."]:
    """sum_j matrix[i, j] field[..., j, ...], (..., *grid), along an axis (negative)."""
    if axis == -1:
        return field @ matrix.mT
    if axis == -2:
        return matrix @ field
    tail = field.shape[axis + 1 :]
    product: Tensor = (matrix @ field.flatten(axis + 1)).unflatten(-1, tail)
    return product


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def derivative_matrix(
    points: int, dtype: torch.dtype, device: str
) -> Float[Tensor, "points points"]:
    """Derivative of the trigonometric interpolant, for unit spacing (points, points).

    For even N: D_ij = (pi / N) (-1)^(i-j) cot(pi (i-j) / N), with csc for odd N.
    L. N. Trefethen, Spectral Methods in MATLAB (2000), chapter 3.
    """
    index = torch.arange(points)
    apart = (index[:, None] - index[None, :]) % points
    angle = math.pi * apart.double() / points
    angle.fill_diagonal_(1.0)
    rest = 1 / torch.tan(angle) if points % 2 == 0 else 1 / torch.sin(angle)
    matrix = math.pi / points * torch.where(apart % 2 == 0, rest, -rest)
    return matrix.fill_diagonal_(0.0).to(device, dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def fourier_basis(
    points: int, cutoff: int, dtype: torch.dtype, device: str
) -> Float[Tensor, "modes points"]:
    """Orthonormal rows (2 K + 1, n): the constant, then cosine and sine of modes 1 to K.

    Dimensionless; K is `cutoff`, below n / 2 of the n `points`.
    """
    grid = torch.arange(points, dtype=torch.float64)
    phase = 2 * math.pi / points * torch.arange(1, cutoff + 1)[:, None].double() * grid
    waves = torch.cat((phase.cos(), phase.sin())) * math.sqrt(2 / points)
    constant = torch.full((1, points), 1 / math.sqrt(points), dtype=torch.float64)
    return torch.cat((constant, waves)).to(device, dtype)
