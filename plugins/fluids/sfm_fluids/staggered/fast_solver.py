"""Direct solves with separable operators by fast diagonalisation.

A one-dimensional operator A = D^-1 S (S symmetric, D the diagonal of volumes) has the real
eigenvectors Q = D^-1/2 V, from S's symmetric eigenproblem; on a periodic axis they are Fourier
modes. In both directions' eigenvectors a Poisson or Helmholtz operator is diagonal:

    (a - b L_x - b L_y)^-1 = (Q_y x Q_x) (a - b l_x - b l_y)^-1 (Q_y x Q_x)^-1

R. E. Lynch, J. R. Rice, D. H. Thomas, Numer. Math. 6, 185 (1964). The matrices come from the very
operators of `axis`, so a solve is exact to rounding. They are made in float64 and cast. A solve is
two matrix products (or FFTs) each way, its adjoint is the same solve, and gradients in a and b go
through the eigenvalues.

Any consistent system of units.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from sfm_fluids.staggered import axis as along
from sfm_fluids.staggered.axis import Axis
from sfm_fluids.staggered.grid import StaggeredGrid


class Basis(NamedTuple):
    """Eigenvectors along one axis. On a periodic axis the matrices are None: use the FFT."""

    values: Tensor  # (K,) eigenvalues, not positive
    forward: Tensor | None  # (K, n): values at the points -> amplitudes
    backward: Tensor | None  # (n, K)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept must serve training too
def basis(axis: Axis, role: str, half: bool, dtype: torch.dtype, device: str) -> Basis:
    """Eigenvectors of the second derivative.

    role: "normal" for velocities on the axis' faces, "tangential" for velocities at its centres,
    "pressure" for the divergence of the gradient. `half`: only the modes that a real FFT keeps.
    """
    if axis.periodic:
        n, h = axis.cells, axis.length / axis.cells
        frequencies = (torch.fft.rfftfreq if half else torch.fft.fftfreq)(n, dtype=torch.float64)
        sines = torch.sin(math.pi * frequencies)
        return Basis((-((2 / h * sines) ** 2)).to(device, dtype), None, None)
    m = axis.metrics()
    if role == "normal":
        eye = torch.eye(axis.n_faces, dtype=torch.float64) * m.free
        matrix = along.flux_difference(axis, along.cell_difference(axis, eye, -1), -1)
        weights, kept = m.distances, m.free.bool()
    else:
        eye = torch.eye(axis.cells, dtype=torch.float64)
        zero = torch.zeros(axis.cells, 1, dtype=torch.float64)
        low = zero if role == "tangential" else None
        high = zero if (role == "tangential") != (axis.kind == "open") else None
        matrix = along.cell_difference(axis, along.face_difference(axis, eye, -1, low, high), -1)
        weights, kept = m.widths, torch.ones(axis.cells, dtype=torch.bool)
    root = weights[kept].sqrt()
    # rows of `matrix` are images of unit vectors: it is the transpose of the operator
    operator = root[:, None] * matrix.T[kept][:, kept] / root
    values, vectors = torch.linalg.eigh(0.5 * (operator + operator.T))
    forward = torch.zeros(len(values), len(kept), dtype=torch.float64)
    forward[:, kept] = vectors.T * root
    backward = torch.zeros(len(kept), len(values), dtype=torch.float64)
    backward[kept] = vectors / root[:, None]
    return Basis(*(x.to(device, dtype).contiguous() for x in (values, forward, backward)))


class Modes(NamedTuple):
    """Both axes' eigenvectors for one field."""

    x: Basis
    y: Basis
    shape: tuple[int, int]

    @property
    def values(self) -> Float[Tensor, "Ky Kx"]:
        """Eigenvalues of the Laplacian, (K_y, K_x)."""
        return self.y.values[:, None] + self.x.values


def modes(grid: StaggeredGrid, field: str, like: Float[Tensor, " ..."]) -> Modes:
    """Eigenvectors (N, N) of each axis for `field`: "u", "v" or "p"."""
    x = {"u": "normal", "v": "tangential", "p": "pressure"}[field]
    y = {"u": "tangential", "v": "normal", "p": "pressure"}[field]
    shape = {"u": grid.u_shape, "v": grid.v_shape, "p": grid.shape}[field]
    dtype, device = like.dtype, str(like.device)
    return Modes(
        basis(grid.x, x, True, dtype, device),
        basis(grid.y, y, not grid.x.periodic, dtype, device),
        shape,
    )


def to_modes(field: Float[Tensor, "*B H W"], m: Modes) -> Inexact[Tensor, "*B Ky Kx"]:
    """Amplitudes (..., K_y, K_x); complex if an axis is periodic."""
    hat: Tensor
    if m.x.forward is None and m.y.forward is None:
        hat = torch.fft.rfft2(field)
    elif m.x.forward is None:
        hat = _on_rows(m.y.forward, torch.fft.rfft(field, dim=-1))
    else:
        field = field @ m.x.forward.T
        hat = torch.fft.rfft(field, dim=-2) if m.y.forward is None else m.y.forward @ field
    return hat


def from_modes(hat: Inexact[Tensor, "*B Ky Kx"], m: Modes) -> Float[Tensor, "*B H W"]:
    """The field (..., H, W) of given amplitudes."""
    field: Tensor
    if m.x.backward is None and m.y.backward is None:
        field = torch.fft.irfft2(hat, s=m.shape)
    elif m.x.backward is None:
        field = torch.fft.irfft(_on_rows(m.y.backward, hat), n=m.shape[1], dim=-1)
    elif m.y.backward is None:
        field = torch.fft.irfft(hat, n=m.shape[0], dim=-2) @ m.x.backward.T
    else:
        field = m.y.backward @ hat @ m.x.backward.T
    return field


def _on_rows(matrix: Tensor | None, hat: Tensor) -> Tensor:
    """A real matrix times a complex field, as one real product."""
    assert matrix is not None
    pairs = torch.view_as_real(hat).flatten(-2)
    return torch.view_as_complex((matrix @ pairs).unflatten(-1, (-1, 2)))


def helmholtz(
    field: Float[Tensor, "*B H W"],
    rate: Float[Tensor, " ..."] | float,
    grid: StaggeredGrid,
    name: str,
) -> Float[Tensor, "*B H W"]:
    """Solve x - rate * laplacian(x) = field for a velocity ("u" or "v"), zero on its sides."""
    m = modes(grid, name, field)
    return from_modes(to_modes(field, m) / (1 - rate * m.values), m)


def poisson(source: Float[Tensor, "*B H W"], grid: StaggeredGrid) -> Float[Tensor, "*B H W"]:
    """Solve divergence(gradient(p)) = source. Without an open end p has mean zero.

    Without an open end the source must have no net integral; the part that has one is dropped.
    """
    m = modes(grid, "p", source)
    return from_modes(to_modes(source, m) * _inverse(grid, source.dtype, str(source.device)), m)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _inverse(grid: StaggeredGrid, dtype: torch.dtype, device: str) -> Tensor:
    values = modes(grid, "p", torch.zeros((), dtype=torch.float64)).values
    if "open" not in (grid.x.kind, grid.y.kind):
        zero = values.abs().argmin()
        values = values.clone()
        values.view(-1)[zero] = math.inf
    return (1 / values).to(device, dtype)
