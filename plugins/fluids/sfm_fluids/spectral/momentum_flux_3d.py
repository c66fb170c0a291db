"""The advection term of three-dimensional flow in momentum-flux form: eight transforms a call.

    du/dt = -P div(u u + tau) + ...

with the projection P onto divergence-free fields. The trace of the stress is a pressure, so five
components (xx - zz, yy - zz, xy, xz, yz) are enough: three inverse transforms and five forward ones
where the rotational form needs six and three. A subgrid stress tau adds no transform.
C. Basdevant, J. Comput. Phys. 50, 209 (1983).

The adjoint is written by hand: it keeps only the velocity and costs eight transforms as well.

Any consistent system of units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm.autograd import Function
from sfm_fluids.spectral.grid_3d import Grid3D, inverse_square
from sfm_fluids.spectral.transforms_3d import (
    chunk,
    field_adjoint,
    forward,
    inverse,
    spectrum_adjoint,
    to_spectrum,
)

Closure = Callable[[Float[Tensor, "*B 3 D H W"], float], Float[Tensor, "*B 3 3 D H W"]]


def momentum_tendency(
    hat: Complex[Tensor, "*B 3 kz ky kx"], grid: Grid3D, closure: Closure | None = None
) -> Complex[Tensor, "*B 3 kz ky kx"]:
    """-P div(u u + tau) of velocity spectra hat (..., 3, *spectral_shape), of the same shape.

    closure(velocity (..., 3, D, H, W), spacing) gives tau (..., 3, 3, D, H, W).
    """
    shape = hat.shape
    hat = hat.reshape(-1, *shape[-4:])
    u, v, w = Components.apply(hat, grid)
    if closure is None:
        divergence: Tensor = FluxDivergence.apply(u, v, w, None, grid)
        return divergence.reshape(shape)
    velocity = torch.stack((u, v, w), dim=1).reshape(*shape[:-3], *grid.shape)
    tau = closure(velocity, grid.isotropic_spacing).reshape(-1, 3, 3, *grid.shape)
    divergence = FluxDivergence.apply(u, v, w, _five(tau), grid)
    return divergence.reshape(shape)


def _five(tau: Tensor) -> Tensor:
    """(B, 3, 3, D, H, W) -> (B, 5, D, H, W): the components of a symmetric traceless stress."""
    return torch.stack(
        (
            tau[:, 0, 0] - tau[:, 2, 2],
            tau[:, 1, 1] - tau[:, 2, 2],
            0.5 * (tau[:, 0, 1] + tau[:, 1, 0]),
            0.5 * (tau[:, 0, 2] + tau[:, 2, 0]),
            0.5 * (tau[:, 1, 2] + tau[:, 2, 1]),
        ),
        dim=1,
    )


class Components(Function):
    """Vector spectra (B, 3, ...) to three fields (B, D, H, W), without joining them in memory."""

    @staticmethod
    def forward(
        hat: Complex[Tensor, "B 3 kz ky kx"], grid: Grid3D
    ) -> tuple[Float[Tensor, "B D H W"], ...]:
        if hat.shape[0] * 3 <= chunk(hat, grid):
            joined: Tensor = inverse(hat.flatten(0, 1), grid).unflatten(0, (-1, 3))
            return joined.unbind(1)
        return tuple(_each(inverse, hat[:, i], grid) for i in range(3))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.grid = inputs[1]

    @staticmethod
    def backward(
        ctx: Any, *g: Float[Tensor, "B D H W"]
    ) -> tuple[Complex[Tensor, "B 3 kz ky kx"], None]:
        return torch.stack([field_adjoint(x, ctx.grid) for x in g], dim=1), None

    @staticmethod
    def jvp(
        ctx: Any, t: Complex[Tensor, "B 3 kz ky kx"], _: None
    ) -> tuple[Float[Tensor, "B D H W"], ...]:
        tangents: tuple[Tensor, ...] = Components.apply(t, ctx.grid)
        return tangents

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[Any, ...], hat: Complex[Tensor, " ..."], grid: Grid3D
    ) -> tuple[Any, int]:
        hat = hat.movedim(in_dims[0], 0)
        parts = Components.apply(hat.flatten(0, 1), grid)
        return tuple(p.unflatten(0, hat.shape[:2]) for p in parts), 0


class FluxDivergence(Function):
    """Fields u, v, w (B, D, H, W) and stress (B, 5, D, H, W) or None to -P div(u u + tau)."""

    @staticmethod
    def forward(
        u: Float[Tensor, "B D H W"],
        v: Float[Tensor, "B D H W"],
        w: Float[Tensor, "B D H W"],
        tau: Float[Tensor, "B 5 D H W"] | None,
        grid: Grid3D,
    ) -> Complex[Tensor, "B 3 kz ky kx"]:
        if len(u) * 5 <= chunk(u, grid):
            flux = torch.stack(_products(u, v, w), dim=1)
            flux = flux if tau is None else flux.add_(tau)
            spectra = forward(flux.flatten(0, 1), grid).unflatten(0, (-1, 5)).unbind(1)
        else:
            w2 = w * w
            fields: tuple[Callable[[], Tensor], ...] = (
                lambda: torch.addcmul(-w2, u, u),
                lambda: torch.addcmul(-w2, v, v),
                lambda: u * v,
                lambda: u * w,
                lambda: v * w,
            )
            spectra = tuple(
                _each(forward, make() if tau is None else make().add_(tau[:, i]), grid)
                for i, make in enumerate(fields)
            )
        return _divergence(spectra, grid)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Any, ...], output: Complex[Tensor, "B 3 kz ky kx"]
    ) -> None:
        u, v, w, tau, ctx.grid = inputs
        ctx.closed = tau is not None
        ctx.save_for_backward(u, v, w)
        ctx.save_for_forward(u, v, w)

    @staticmethod
    def backward(
        ctx: Any, g: Complex[Tensor, "B 3 kz ky kx"]
    ) -> tuple[Float[Tensor, " ..."] | None, ...]:
        u, v, w = ctx.saved_tensors
        xx, yy, xy, xz, yz = (
            spectrum_adjoint(part, ctx.grid) for part in _divergence_adjoint(g, ctx.grid)
        )
        du = torch.addcmul(torch.addcmul(v * xy, w, xz), u, xx, value=2.0)
        dv = torch.addcmul(torch.addcmul(u * xy, w, yz), v, yy, value=2.0)
        dw = torch.addcmul(torch.addcmul(u * xz, v, yz), w, xx + yy, value=-2.0)
        stress = torch.stack((xx, yy, xy, xz, yz), dim=1) if ctx.closed else None
        return du, dv, dw, stress, None

    @staticmethod
    def jvp(
        ctx: Any,
        du: Float[Tensor, "B D H W"],
        dv: Float[Tensor, "B D H W"],
        dw: Float[Tensor, "B D H W"],
        dtau: Float[Tensor, "B 5 D H W"] | None,
        _: None,
    ) -> Complex[Tensor, "B 3 kz ky kx"]:
        u, v, w = ctx.saved_tensors
        flux = torch.stack(
            (
                2 * (u * du - w * dw),
                2 * (v * dv - w * dw),
                u * dv + v * du,
                u * dw + w * du,
                v * dw + w * dv,
            ),
            dim=1,
        )
        flux = flux if dtau is None else flux + dtau
        return _divergence(to_spectrum(flux, ctx.grid).unbind(1), ctx.grid)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[Any, ...],
        u: Float[Tensor, " ..."],
        v: Float[Tensor, " ..."],
        w: Float[Tensor, " ..."],
        tau: Float[Tensor, " ..."] | None,
        grid: Grid3D,
    ) -> tuple[Complex[Tensor, "n B 3 kz ky kx"], int]:
        given = [
            x
            if x is None
            else (x.movedim(d, 0) if d is not None else x.expand(info.batch_size, *x.shape))
            for x, d in zip((u, v, w, tau), in_dims, strict=False)
        ]
        flat = [None if x is None else x.flatten(0, 1) for x in given]
        divergence = FluxDivergence.apply(*flat, grid)
        return divergence.unflatten(0, (info.batch_size, -1)), 0


def _products(u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    w2 = w * w
    return u * u - w2, v * v - w2, u * v, u * w, v * w


def _each(transform: Callable[[Tensor, Grid3D], Tensor], x: Tensor, grid: Grid3D) -> Tensor:
    """`transform` of volumes (B, ...) one after another."""
    return (
        transform(x, grid) if len(x) == 1 else torch.cat([transform(r, grid) for r in x.split(1)])
    )


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must serve training too
def _factors(grid: Grid3D, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    """kz, ky, kx and 1/k^2, along x repeated for the real and the imaginary part."""
    kz, ky, kx = (k.to(dtype) for k in grid.wavenumbers(device=device))
    square = inverse_square(grid, dtype, device)
    return kz, ky, kx.repeat_interleave(2), square.repeat_interleave(2, dim=-1)


def _pairs(hat: Tensor) -> Tensor:
    """Complex (..., Kx) as real (..., 2 Kx): real arithmetic is faster, and real factors do."""
    return torch.view_as_real(hat).flatten(-2)


def _divergence(spectra: Sequence[Tensor], grid: Grid3D) -> Tensor:
    """-P div of a stress: five spectra (B, ...) to (B, 3, ...)."""
    xx, yy, xy, xz, yz = (_pairs(s) for s in spectra)
    kz, ky, kx, inverse_k2 = _factors(grid, xx.dtype, str(xx.device))
    x = torch.addcmul(torch.addcmul(kx * xx, ky, xy), kz, xz)
    y = torch.addcmul(torch.addcmul(kx * xy, ky, yy), kz, yz)
    z = torch.addcmul(kx * xz, ky, yz)
    return _turned(_projected(x, y, z, kz, ky, kx, inverse_k2), -1.0)


def _divergence_adjoint(g: Tensor, grid: Grid3D) -> tuple[Tensor, ...]:
    """The adjoint of `_divergence`: (B, 3, ...) to five spectra (B, ...)."""
    x, y, z = (_pairs(part) for part in g.unbind(1))
    kz, ky, kx, inverse_k2 = _factors(grid, x.dtype, str(x.device))
    turned = _turned(_projected(x, y, z, kz, ky, kx, inverse_k2), 1.0)
    x, y, z = (_pairs(part) for part in turned.unbind(1))
    parts = (
        kx * x,
        ky * y,
        torch.addcmul(ky * x, kx, y),
        torch.addcmul(kz * x, kx, z),
        torch.addcmul(kz * y, ky, z),
    )
    return tuple(torch.view_as_complex(p.unflatten(-1, (-1, 2))) for p in parts)


def _projected(
    x: Tensor, y: Tensor, z: Tensor, kz: Tensor, ky: Tensor, kx: Tensor, inverse_k2: Tensor
) -> tuple[Tensor, ...]:
    pressure = torch.addcmul(torch.addcmul(kx * x, ky, y), kz, z) * inverse_k2
    return tuple(
        torch.addcmul(part, k, pressure, value=-1.0) for part, k in ((x, kx), (y, ky), (z, kz))
    )


def _turned(parts: Sequence[Tensor], sign: float) -> Tensor:
    """Three real pairs (B, ..., 2 Kx) times `sign` i, joined to complex (B, 3, ..., Kx)."""
    pairs = torch.stack(tuple(parts), dim=1).unflatten(-1, (-1, 2))
    real, imaginary = pairs.unbind(-1)
    return torch.complex(-sign * imaginary, sign * real)
