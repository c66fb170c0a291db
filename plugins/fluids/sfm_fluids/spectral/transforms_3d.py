"""Transforms between fields (D, H, W) and the spectra of `grid_3d`, with their exact adjoints.

A transform goes axis by axis and touches only the modes that are kept: two thirds of the work of a
full one. Large volumes go through one at a time, so that each stays in the cache.

The adjoint of one direction is the other direction with the weights of the half-spectrum; torch's
own adjoint of a real transform is a complex one of the full spectrum, more than twice the work.

Any consistent system of units.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from sfm.autograd import Function
from sfm_fluids.spectral.grid_3d import Grid3D

CHUNK = 2**20  # bytes of field that are transformed in one call on a CPU: a core's cache


def to_field(hat: Complex[Tensor, "*B kz ky kx"], grid: Grid3D) -> Float[Tensor, "*B D H W"]:
    """Spectra (..., *spectral_shape) to real fields (..., D, H, W)."""
    field: Tensor = ToField.apply(hat, grid)
    return field


def to_spectrum(field: Float[Tensor, "*B D H W"], grid: Grid3D) -> Complex[Tensor, "*B kz ky kx"]:
    """Real fields (..., D, H, W) to the spectra of their kept modes (..., *spectral_shape)."""
    hat: Tensor = ToSpectrum.apply(field, grid)
    return hat


class ToField(Function):
    """`to_field`, (..., *spectral_shape) -> (..., D, H, W), any derivative, both modes, vmap."""

    @staticmethod
    def forward(hat: Complex[Tensor, "*B kz ky kx"], grid: Grid3D) -> Float[Tensor, "*B D H W"]:
        return by_chunks(inverse, hat, grid)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Float[Tensor, "*B D H W"]) -> None:
        ctx.grid = inputs[1]

    @staticmethod
    def backward(
        ctx: Any, g: Float[Tensor, "*B D H W"]
    ) -> tuple[Complex[Tensor, "*B kz ky kx"], None]:
        return field_adjoint(g, ctx.grid), None

    @staticmethod
    def jvp(ctx: Any, t: Complex[Tensor, "*B kz ky kx"], _: None) -> Float[Tensor, "*B D H W"]:
        return to_field(t, ctx.grid)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], hat: Complex[Tensor, " ..."], grid: Grid3D
    ) -> tuple[Float[Tensor, "n *B D H W"], int]:
        return to_field(hat.movedim(in_dims[0], 0), grid), 0


class ToSpectrum(Function):
    """`to_spectrum`, (..., D, H, W) -> (..., *spectral_shape), likewise."""

    @staticmethod
    def forward(field: Float[Tensor, "*B D H W"], grid: Grid3D) -> Complex[Tensor, "*B kz ky kx"]:
        return by_chunks(forward, field, grid)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Any, ...], output: Complex[Tensor, "*B kz ky kx"]
    ) -> None:
        ctx.grid = inputs[1]

    @staticmethod
    def backward(
        ctx: Any, g: Complex[Tensor, "*B kz ky kx"]
    ) -> tuple[Float[Tensor, "*B D H W"], None]:
        return spectrum_adjoint(g, ctx.grid), None

    @staticmethod
    def jvp(ctx: Any, t: Float[Tensor, "*B D H W"], _: None) -> Complex[Tensor, "*B kz ky kx"]:
        return to_spectrum(t, ctx.grid)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], field: Float[Tensor, " ..."], grid: Grid3D
    ) -> tuple[Complex[Tensor, "n *B kz ky kx"], int]:
        return to_spectrum(field.movedim(in_dims[0], 0), grid), 0


def field_adjoint(g: Float[Tensor, "*B D H W"], grid: Grid3D) -> Complex[Tensor, "*B kz ky kx"]:
    """The adjoint of `to_field`: fields (..., D, H, W) to spectra."""
    weights = math.prod(grid.shape) * grid.weights(device=g.device)
    return to_spectrum(g, grid) * weights.to(g.dtype)


def spectrum_adjoint(g: Complex[Tensor, "*B kz ky kx"], grid: Grid3D) -> Float[Tensor, "*B D H W"]:
    """The adjoint of `to_spectrum`: spectra to fields (..., D, H, W)."""
    weights = math.prod(grid.shape) * grid.weights(device=g.device)
    return to_field(g * (1 / weights).to(g.real.dtype), grid)


def by_chunks(
    transform: Callable[[Inexact[Tensor, "n a b c"], Grid3D], Inexact[Tensor, "n d e f"]],
    x: Inexact[Tensor, "*B a b c"],
    grid: Grid3D,
) -> Inexact[Tensor, "*B d e f"]:
    """`transform` of x (..., a, b, c), a cache's worth of volumes at a time."""
    rows = x.reshape(-1, *x.shape[-3:])
    size = chunk(x, grid)
    if len(rows) <= size:
        transformed = transform(rows, grid)
    else:
        transformed = torch.cat([transform(part, grid) for part in rows.split(size)])
    return transformed.reshape(*x.shape[:-3], *transformed.shape[-3:])


def chunk(x: Inexact[Tensor, "*B a b c"], grid: Grid3D) -> int:
    """How many volumes of the precision of x (..., a, b, c) are transformed in one call."""
    if x.device.type != "cpu":
        return sys.maxsize
    return max(1, CHUNK // (math.prod(grid.shape) * x.real.element_size()))


def inverse(hat: Complex[Tensor, "n kz ky kx"], grid: Grid3D) -> Float[Tensor, "n D H W"]:
    """Spectra (n, *spectral_shape) to fields (n, D, H, W), no gradient of its own."""
    kz, ky, _ = grid.cutoff
    hat = torch.fft.ifft(_pad(hat, -3, grid.depth, kz), dim=-3, norm="forward")
    hat = torch.fft.ifft(_pad(hat, -2, grid.height, ky), dim=-2, norm="forward")
    field: Tensor = torch.fft.irfft(hat, n=grid.width, norm="forward")
    return field


def forward(field: Float[Tensor, "n D H W"], grid: Grid3D) -> Complex[Tensor, "n kz ky kx"]:
    """Fields (n, D, H, W) to spectra (n, *spectral_shape), no gradient of its own."""
    kz, ky, kx = grid.cutoff
    hat = torch.fft.rfft(field, norm="forward")[..., : kx + 1]
    hat = _cut(torch.fft.fft(hat, dim=-2, norm="forward"), -2, ky)
    return _cut(torch.fft.fft(hat, dim=-3, norm="forward"), -3, kz)


def _pad(hat: Tensor, dim: int, points: int, cutoff: int) -> Tensor:
    """Zeros for the modes of an axis that are not kept."""
    shape = list(hat.shape)
    shape[dim] = points - shape[dim]
    low, high = hat.narrow(dim, 0, cutoff + 1), hat.narrow(dim, cutoff + 1, cutoff)
    return torch.cat((low, hat.new_zeros(shape), high), dim)


def _cut(hat: Tensor, dim: int, cutoff: int) -> Tensor:
    """The modes of an axis that are kept."""
    low = hat.narrow(dim, 0, cutoff + 1)
    return torch.cat((low, hat.narrow(dim, hat.shape[dim] - cutoff, cutoff)), dim)
