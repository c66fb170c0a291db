"""Finite volumes for -div(a grad p) on a rectangle of cells: faces, fluxes, right-hand side.

Fields are (..., H, W): x runs along the last axis from the left side to the right one, y along the
one before from bottom to top. A face carries a conductance c, so that

    (A p)_i = c_i (p_i - p_(i-1)) - c_(i+1) (p_(i+1) - p_i)      (and likewise along y)

with c = a_face / dx^2 inside, 2 a / dx^2 at a Dirichlet side (half a cell away) and 0 at a
Neumann side. A is symmetric.

Source: R. Eymard, T. Gallouet and R. Herbin, Finite Volume Methods, in Handbook of Numerical
Analysis VII (2000), the two-point flux approximation.

Any consistent system of units.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

KINDS = ("dirichlet", "neumann", "periodic")
AVERAGES = ("harmonic", "arithmetic")


class Conductances(NamedTuple):
    """Of all faces: along x (..., H, W + 1), along y (..., H + 1, W)."""

    x: Tensor
    y: Tensor


class Axis(NamedTuple):
    """One direction of the grid: cells, cell size, and what its first and last side are."""

    cells: int
    spacing: float
    first: str
    last: str


def conductances(
    permeability: Float[Tensor, "*batch H W"], x: Axis, y: Axis, average: str
) -> Conductances:
    """Of the faces of cells with permeability (..., H, W)."""
    along_y = _conductances(permeability.mT, y, average).mT
    return Conductances(_conductances(permeability, x, average), along_y)


def _conductances(a: Tensor, axis: Axis, average: str) -> Tensor:
    left, right = a[..., :-1], a[..., 1:]
    if axis.first == "periodic":
        left, right = torch.cat([a[..., -1:], a], -1), torch.cat([a, a[..., :1]], -1)
    inner = 2 * left * right / (left + right) if average == "harmonic" else (left + right) / 2
    if axis.first != "periodic":
        ends = [
            2 * cell if kind == "dirichlet" else torch.zeros_like(cell)
            for cell, kind in ((a[..., :1], axis.first), (a[..., -1:], axis.last))
        ]
        inner = torch.cat([ends[0], inner, ends[1]], -1)
    return inner / axis.spacing**2


def differences(
    p: Float[Tensor, "*batch H W"],
    axis: Axis,
    first: Float[Tensor, " ..."] | None = None,
    last: Float[Tensor, " ..."] | None = None,
) -> Float[Tensor, "*batch H W+1"]:
    """(..., W + 1) p_i - p_(i-1) at faces; at a Dirichlet side against its value (0 if None)."""
    outside = []
    for kind, edge, opposite, value in (
        (axis.first, p[..., :1], p[..., -1:], first),
        (axis.last, p[..., -1:], p[..., :1], last),
    ):
        if kind == "periodic":
            outside.append(opposite)
        elif kind == "neumann":
            outside.append(edge)
        else:
            outside.append(torch.zeros_like(edge) if value is None else value.unsqueeze(-1))
    shape = (*p.shape[:-1], 1)
    return torch.cat([outside[0].expand(shape), p, outside[1].expand(shape)], -1).diff(dim=-1)


def apply(
    p: Float[Tensor, "*batch H W"], c: Conductances, x: Axis, y: Axis
) -> Float[Tensor, "*batch H W"]:
    """A p with zero boundary values, (..., H, W)."""
    along_x = (c.x * differences(p, x)).diff(dim=-1)
    along_y = (c.y.mT * differences(p.mT, y)).diff(dim=-1).mT
    return -(along_x + along_y)


def boundary_source(
    c: Float[Tensor, "*batch H faces"],
    axis: Axis,
    first: Float[Tensor, " ..."],
    last: Float[Tensor, " ..."],
) -> Float[Tensor, "*batch H faces-1"]:
    """(..., W) what the values of the two sides add to the right-hand side.

    Args:
        c: (..., W + 1) conductances along the axis.
        axis: the axis.
        first: (...) p at a Dirichlet side, a dp/dn (flow in per length) at a Neumann side.
        last: likewise.
    """
    added = torch.zeros_like(c[..., 1:])
    terms = []
    for kind, edge, value in ((axis.first, c[..., 0], first), (axis.last, c[..., -1], last)):
        if kind == "dirichlet":
            terms.append(edge * value)
        elif kind == "neumann":
            terms.append((value / axis.spacing).expand(edge.shape))
        else:
            terms.append(torch.zeros_like(edge))
    inner = added[..., 1:-1]
    return torch.cat([terms[0].unsqueeze(-1), inner, terms[1].unsqueeze(-1)], -1)


def fluxes(
    p: Float[Tensor, "*batch H W"],
    c: Float[Tensor, "*batch H W+1"],
    axis: Axis,
    first: Float[Tensor, " ..."],
    last: Float[Tensor, " ..."],
) -> Float[Tensor, "*batch H W+1"]:
    """(..., W + 1) -a dp/dx through the faces along one axis, in the axis' direction."""
    flux = -c * axis.spacing * differences(p, axis, first, last)
    ends = [flux[..., 0], flux[..., -1]]
    if axis.first == "neumann":
        ends[0] = first.expand(ends[0].shape)
    if axis.last == "neumann":
        ends[1] = -last.expand(ends[1].shape)
    return torch.cat([ends[0].unsqueeze(-1), flux[..., 1:-1], ends[1].unsqueeze(-1)], -1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must serve training too
def eigenbasis(axis: Axis) -> tuple[Float[Tensor, " n"], Float[Tensor, "n n"]]:
    """Eigenvalues (n,) and orthonormal eigenvectors (n, n) of A along one axis for a = 1; float64.

    These are sines, cosines or Fourier modes by the kind of the sides; a matrix product with them
    costs less than a fast transform at the sizes meant here, and mixed sides need no special case.
    """
    one = torch.ones(1, axis.cells, dtype=torch.float64)
    c = _conductances(one, axis, "arithmetic")
    identity = torch.eye(axis.cells, dtype=torch.float64)
    matrix = -(c * differences(identity, axis)).diff(dim=-1)
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    return values.clamp_min(0), vectors
