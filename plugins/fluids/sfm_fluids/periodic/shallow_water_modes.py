"""Shallow water in the modes of its linear waves: divergence, vorticity and elevation.

The coefficients of a wavenumber k = K (cos a, sin a) are

    p = i (u cos a + v sin a),    q = i (v cos a - u sin a),    eta

that is divergence / K, vorticity / K (with a = 0 for the mean flow) and the surface's elevation:
the linear equations are then p' = f q + g K eta, q' = -f p, eta' = -H K p, with real entries,
derived here. The form of the nonlinear ones that conserves energy is that of R. Sadourny, J. Atmos.
Sci. 32, 680 (1975).
Arrays of coefficients are (..., 3, H, K), in the layout of `transforms`.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.transforms_2d import columns, to_modes, to_points


class WaveModes:
    """Transforms between fields and coefficients, and the nonlinear tendency."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def magnitude(self, device: torch.device) -> Float[Tensor, "H K"]:
        """K (H, K) float64; zero where the 2/3 rule drops the mode."""
        return _factors(self.grid, torch.float64, str(device))[0]

    def to_modes(
        self, velocity: Float[Tensor, "*B 2 H W"], elevation: Float[Tensor, "*B H W"]
    ) -> Complex[Tensor, "*B 3 H K"]:
        """Coefficients of u (..., 2, H, W), eta (..., H, W), without what the 2/3 rule drops."""
        _, cos, sin, keep = self._factors(elevation)
        hats = to_modes(torch.cat((velocity, elevation.unsqueeze(-3)), dim=-3), self.grid) * keep
        return self._turned(hats[..., 0, :, :], hats[..., 1, :, :], hats[..., 2, :, :], cos, sin)

    def to_fields(
        self, modes: Complex[Tensor, "*B 3 H K"]
    ) -> tuple[Float[Tensor, "*B 2 H W"], Float[Tensor, "*B H W"]]:
        """(u (..., 2, H, W), eta (..., H, W))."""
        _, cos, sin, _ = self._factors(modes.real)
        fields = to_points(self._velocity_and(modes, cos, sin), self.grid)
        return fields[..., :2, :, :], fields[..., 2, :, :]

    def filtered(self, field: Float[Tensor, "*B H W"]) -> Float[Tensor, "*B H W"]:
        """The field (..., H, W) without the modes that the 2/3 rule drops."""
        keep = self._factors(field)[3]
        return to_points(to_modes(field, self.grid) * keep, self.grid)

    def tendency(
        self,
        modes: Complex[Tensor, "*B 3 H K"],
        f: Float[Tensor, " ..."],
        depth: Float[Tensor, " ..."],
        bottom: Float[Tensor, "... H W"],
    ) -> Complex[Tensor, "*B 3 H K"]:
        """The nonlinear part of d(modes)/dt, with f (), H (), b (H, W), or batched ones.

        With F = h u, the transport that the grid carries (2/3 rule),

            u_t = -(zeta + f)/h k x F - grad(|u|^2/2 + g eta),    eta_t = -div F

        conserves <h |u|^2 + g eta^2> exactly, whatever the resolution. Eleven transforms.
        """
        k, cos, sin, keep = self._factors(modes.real)
        hats = torch.cat((self._velocity_and(modes, cos, sin), (k * modes[..., 1:2, :, :])), dim=-3)
        u, v, eta, zeta = to_points(hats, self.grid).unbind(-3)
        # the part of the depth that is not in the linear operator
        excess = eta - bottom
        products = torch.stack((excess * u, excess * v, 0.5 * (u * u + v * v)), dim=-3)
        fluxes = to_modes(products, self.grid) * keep
        flux_u, flux_v = to_points(fluxes[..., :2, :, :], self.grid).unbind(-3)
        # (zeta + f)/h F - f u, without cancellation
        h = depth + excess
        turn_u = (zeta * (depth * v + flux_v) + f * (flux_v - excess * v)) / h
        turn_v = -(zeta * (depth * u + flux_u) + f * (flux_u - excess * u)) / h
        turned = to_modes(torch.stack((turn_u, turn_v), dim=-3), self.grid) * keep
        head, flux_x, flux_y = fluxes[..., 2, :, :], fluxes[..., 0, :, :], fluxes[..., 1, :, :]
        change = self._turned(
            turned[..., 0, :, :],
            turned[..., 1, :, :],
            -1j * k * (cos * flux_x + sin * flux_y),
            cos,
            sin,
        )
        gradient = torch.zeros_like(change)
        gradient[..., 0, :, :] = k * head
        return change + gradient

    def tail(self, modes: Complex[Tensor, "*B 3 H K"]) -> float:
        """Largest vorticity or elevation near the cut-off, relative to the largest of all.

        modes: (..., 3, H, K).
        """
        k, _, _, keep = self._factors(modes.real)
        power = torch.stack((k * modes[..., 1, :, :], modes[..., 2, :, :]), dim=-3).abs()
        cut = min(float(k[:, 0].max()), float(k[0].max()))
        near = keep & (k > 0.9 * cut)
        whole = power.amax((-2, -1))
        top = (power * near).amax((-2, -1))
        return float(torch.where(whole > 0, top / whole, torch.zeros_like(top)).max())

    def _velocity_and(self, modes: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Transforms of u, v, eta, (..., 3, H, K)."""
        p, q, eta = modes.unbind(-3)
        return torch.stack((-1j * (cos * p - sin * q), -1j * (sin * p + cos * q), eta), dim=-3)

    @staticmethod
    def _turned(u: Tensor, v: Tensor, eta: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return torch.stack((1j * (cos * u + sin * v), 1j * (cos * v - sin * u), eta), dim=-3)

    def _factors(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return _factors(self.grid, like.dtype, str(like.device))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def _factors(grid: Grid, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(K, cos a, sin a, kept by the 2/3 rule), each (H, K); K is zero where it is dropped."""
    ky, kx = grid.wavenumbers(device=device)
    keep = grid.dealias_mask(device=device)[:, : columns(grid)]
    kx = kx[:, : columns(grid)]
    size = torch.sqrt(kx**2 + ky**2)
    safe = torch.where(size > 0, size, torch.ones_like(size))
    cos = torch.where(size > 0, kx / safe, torch.ones_like(size))
    sin = torch.where(size > 0, ky / safe, torch.zeros_like(size))
    return (size * keep).to(dtype), cos.to(dtype), sin.to(dtype), keep
