"""N of a flow without scalars and closure, and its adjoint: few calls, no autograd.

What `NonlinearTerm2D` does step by step, with everything that is the same at all stages made once:
views of the factors, a padded spectrum whose dropped columns stay zero, fields for the products.
The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.fft import ifft, irfft, irfft2

from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.spectral.transforms_2d import to_modes
from sfm_fluids.stepping.tableau import Totals
from sfm_fluids.stepping.term import Pull

if TYPE_CHECKING:
    from sfm_fluids.periodic.nonlinear_term_2d import Factors


TURNED = 256  # from this height on a matrix is transposed on its own: torch has a kernel for that


class Advection2D:
    """For real views (..., 1, H, K, 2) of modes of one shape, one after another."""

    @torch.inference_mode(False)  # the work arrays must serve training too
    def __init__(self, grid: Grid, factors: Factors, pairs: Tensor) -> None:
        *lead, _, height, kept, _ = pairs.shape
        self.grid, self.shape, self.dtype, self.width = grid, pairs.shape, pairs.dtype, grid.width
        self.velocity, self.velocity_forth = factors.velocity, factors.velocity_forth
        self.shear, self.normal = factors.flux.unbind(0)
        self.flux_back, self.cells = factors.flux_back, height * grid.width
        self.spectrum: Tensor | None = None
        if kept < grid.width // 2 + 1:
            size = (*lead, 2, height, grid.width // 2 + 1)
            self.spectrum = pairs.new_zeros(size, dtype=factors.velocity.dtype)
            self.columns = self.spectrum[..., :kept]
            self.turned: list[tuple[Tensor, Tensor]] = []
            if height >= TURNED and pairs.device.type == "cpu":
                size = (*lead, 2, grid.width // 2 + 1, height)
                rows = self.spectrum.new_zeros(size)
                self.columns = rows[..., :kept, :].transpose(-1, -2)
                each = zip(self.spectrum.flatten(0, -3), rows.flatten(0, -3).mT, strict=True)
                self.turned = list(each)
        self.product = pairs.new_empty(*lead, 2, height, grid.width)
        self.parts = self.product.unbind(-3)

    def points(self, modes: Complex[Tensor, "*B 2 H K"]) -> Float[Tensor, "*B 2 H W"]:
        """As `to_points`, modes (..., 2, H, K)."""
        values: Tensor
        if self.spectrum is None:
            values = irfft2(modes, s=self.grid.shape)
            return values
        self.columns.copy_(ifft(modes, dim=-2))
        for one, other in self.turned:
            one.copy_(other)
        values = irfft(self.spectrum, n=self.width)
        return values

    def _velocity(self, pairs: Tensor, mean: Tensor | None) -> tuple[Tensor, ...]:
        hat = self.velocity * torch.view_as_complex(pairs)
        if mean is not None:
            hat[..., 0, 0] = mean * self.cells
        return self.points(hat).unbind(-3)

    def _value(self, u: Tensor, v: Tensor, force: Tensor | None) -> Tensor:
        shear, normal = self.parts
        torch.mul(u, v, out=shear)
        torch.mul(v, v, out=normal).addcmul_(u, u, value=-1)
        a, b = torch.view_as_real(to_modes(self.product, self.grid)).unbind(-4)
        if force is None:
            return torch.mul(self.shear, a).addcmul_(self.normal, b).unsqueeze(-4)
        start = torch.addcmul(force.squeeze(-4), self.shear, a)
        return start.addcmul_(self.normal, b).unsqueeze(-4)

    def value(
        self,
        pairs: Float[Tensor, "*B 1 H K 2"],
        mean: Float[Tensor, "... 2"] | None,
        force: Float[Tensor, "... 1 H K 2"] | None,
    ) -> Float[Tensor, "*B 1 H K 2"]:
        """N; the mean flow is (..., 2), `force` is its real view (..., 1, H, K, 2)."""
        u, v = self._velocity(pairs, mean)
        return self._value(u, v, force)

    def linearise(
        self,
        pairs: Float[Tensor, "*B 1 H K 2"],
        mean: Float[Tensor, "... 2"] | None,
        force: Float[Tensor, "... 1 H K 2"] | None,
        moved: Callable[[Float[Tensor, "... 2"], Totals], None],
        needed: bool = True,
    ) -> tuple[Float[Tensor, "*B 1 H K 2"] | None, Pull]:
        """N, if `needed`, and its adjoint.

        The adjoint adds the gradient of the force to totals[0] and calls `moved` with that of the
        mean flow (..., 2).
        """
        u, v = self._velocity(pairs, mean)

        def pull(given: Tensor, totals: Totals) -> Tensor:
            if force is not None and totals[0] is not None:
                totals[0] += given.sum_to_size(totals[0].shape)
            a, b = self.points(torch.view_as_complex(self.flux_back * given)).unbind(-3)
            into_u, into_v = self.parts
            torch.mul(a, v, out=into_u).addcmul_(b, u, value=-2)
            torch.mul(a, u, out=into_v).addcmul_(b, v, value=2)
            modes = to_modes(self.product, self.grid)
            if mean is not None:
                moved(modes[..., 0, 0].real, totals)
            by_u, by_v = (self.velocity_forth * modes).unbind(-3)
            return torch.view_as_real(by_u + by_v).unsqueeze(-4)

        return (self._value(u, v, force) if needed else None), pull
