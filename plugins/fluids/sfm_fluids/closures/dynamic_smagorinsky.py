"""Smagorinsky's model with the constant that the resolved flow itself asks for."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.closures.calculus import (
    contracted,
    dimensions,
    low_pass,
    magnitude,
    pairs,
    strain_rate,
    unpacked,
)
from sfm_fluids.closures.smagorinsky import per_flow


class DynamicSmagorinsky(nn.Module):
    """tau = -2 c h^2 |S| S with c from Germano's identity, by Lilly's least squares.

    With ^ for a test filter that is `ratio` times wider, the stresses of the two levels differ by
    something that is resolved, L_ij = ^(u_i u_j - ^u_i ^u_j). Smagorinsky's model on both levels
    makes it c M_ij with M_ij = -2 h^2 ^(ratio^2 |^S| ^S_ij - |S| S_ij), and over the whole box

        c = < L_ij M_ij > / < M_ij M_ij >

    one number per flow and call. It is zero where the flow has no scales beyond the test filter:
    a laminar flow is left alone. A negative c, which two-dimensional flow often asks for, becomes
    zero; `coefficient` returns it as it is. Averages over the box suit homogeneous turbulence. The
    filter is a sharp cut-off, so all of L and M is filtered: a stress acts on no other modes.

    velocity (B, 2, H, W), spacing -> tau (B, 2, 2, H, W), or in three dimensions
    (B, 3, D, H, W) -> (B, 3, 3, D, H, W). Cells are square or cubic.

    Args:
        ratio: width of the test filter over that of the grid's; the test filter keeps the modes of
            index <= (N - 1) // 3 / ratio on each axis: a sharp cut-off, which commutes with the
            grid's symmetries. 2 is usual.

    Raises:
        InputError: `ratio` is not above 1.

    M. Germano, U. Piomelli, P. Moin and W. H. Cabot, Phys. Fluids A 3, 1760 (1991);
    D. K. Lilly, Phys. Fluids A 4, 633 (1992).
    """

    def __init__(self, ratio: float = 2.0) -> None:
        super().__init__()
        if not ratio > 1:
            raise InputError(f"the test filter's ratio={ratio} must be above 1")
        self.ratio = ratio

    def forward(
        self, velocity: Float[Tensor, " ..."], spacing: float
    ) -> Float[Tensor, "*B 2 2 H W"] | Float[Tensor, "*B 3 3 D H W"]:
        n = dimensions(velocity)
        strain = strain_rate(velocity, spacing)
        scaled = magnitude(strain, n) * strain
        c = self._coefficient(velocity, scaled, spacing).clamp(min=0.0)
        return unpacked(-2 * per_flow(c, n) * spacing**2 * scaled, n)

    def coefficient(
        self, velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"], spacing: float
    ) -> Float[Tensor, "*B"]:
        """c of each flow, (...); may be negative."""
        n = dimensions(velocity)
        strain = strain_rate(velocity, spacing)
        return self._coefficient(velocity, magnitude(strain, n) * strain, spacing)

    def _coefficient(self, velocity: Tensor, scaled: Tensor, spacing: float) -> Tensor:
        n = dimensions(velocity)
        resolved, model = self.leonard(velocity), self.model_difference(velocity, scaled, spacing)
        axes = tuple(range(-n, 0))
        tiny = torch.finfo(velocity.dtype).tiny
        along_model = contracted(resolved, model, n).mean(axes)
        return along_model / (contracted(model, model, n).mean(axes) + tiny)

    def leonard(
        self, velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"]
    ) -> Float[Tensor, "*B 3 H W"] | Float[Tensor, "*B 6 D H W"]:
        """L_ij = ^(u_i u_j - ^u_i ^u_j), packed (..., pairs, *grid)."""
        n = dimensions(velocity)
        smooth = self.test_filter(velocity, n)
        return self.test_filter(_products(velocity, n) - _products(smooth, n), n)

    def model_difference(
        self,
        velocity: Float[Tensor, "*B 2 H W"] | Float[Tensor, "*B 3 D H W"],
        scaled: Float[Tensor, "*B 3 H W"] | Float[Tensor, "*B 6 D H W"],
        spacing: float,
    ) -> Float[Tensor, "*B 3 H W"] | Float[Tensor, "*B 6 D H W"]:
        """M_ij, packed (..., pairs, *grid); `scaled` is |S| S, packed."""
        n = dimensions(velocity)
        smooth = strain_rate(self.test_filter(velocity, n), spacing)
        coarse = self.ratio**2 * magnitude(smooth, n) * smooth
        return self.test_filter(-2 * spacing**2 * (coarse - scaled), n)

    def test_filter(self, field: Float[Tensor, "*shape"], n: int) -> Float[Tensor, "*shape"]:
        """The test-filtered field (..., *grid) in n dimensions."""
        return low_pass(field, n, tuple(self._cutoff(points) for points in field.shape[-n:]))

    def _cutoff(self, points: int) -> int:
        cutoff = int((points - 1) // 3 / self.ratio)
        if cutoff < 1:
            raise InputError(
                f"{points} points leave no mode under a test filter of ratio {self.ratio:g}"
            )
        return cutoff


def _products(velocity: Tensor, n: int) -> Tensor:
    """u_i u_j, packed (..., pairs, *grid)."""
    u = velocity.unbind(-n - 1)
    return torch.stack([u[i] * u[j] for i, j in pairs(n)], dim=-n - 1)
