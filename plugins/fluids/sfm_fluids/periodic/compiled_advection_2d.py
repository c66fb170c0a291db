"""`Advection2D` with compiled pointwise work: two transforms and three other calls in a stage.

The numbers are those of `Advection2D` to rounding: the same sums in the same order, but for fused
multiply-adds. For grids that keep all columns of the spectrum, on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.fft import irfft2, rfft2

from sfm.errors import InputError
from sfm_fluids.periodic.advection_2d import Advection2D
from sfm_fluids.periodic.advection_kernels import kernels
from sfm_fluids.spectral.grid_2d import Grid
from sfm_fluids.stepping.tableau import Totals
from sfm_fluids.stepping.term import Pull

if TYPE_CHECKING:
    from sfm_fluids.periodic.nonlinear_term_2d import Factors

Moved = Callable[[Float[Tensor, "... 2"], Totals], None]


class CompiledAdvection2D(Advection2D):
    """For real views (..., 1, H, K, 2) of modes of one shape, one after another.

    Raises `InputError` for tensors that are not on the CPU, and where nothing can be compiled.
    """

    @torch.inference_mode(False)  # the work arrays must serve training too
    def __init__(self, grid: Grid, factors: Factors, pairs: Tensor) -> None:
        if pairs.device.type != "cpu":
            raise InputError(f"kernel='compiled' runs on the CPU, not on {pairs.device}")
        super().__init__(grid, factors, pairs)
        self.call = kernels(pairs.dtype)
        *lead, _, height, kept, _ = pairs.shape
        self.flows, self.numbers = math.prod(lead), 2 * height * kept
        self.kept = tuple(
            f.contiguous()
            for f in (factors.velocity, factors.flux, factors.flux_back, factors.velocity_forth)
        )
        self.at = tuple(f.data_ptr() for f in self.kept)
        self.hat = pairs.new_empty((*lead, 2, height, kept), dtype=factors.velocity.dtype)
        self.value_at = (self.hat.data_ptr(), self.product.data_ptr())

    def _fields(self, pairs: Tensor, mean: Tensor | None) -> Tensor:
        """Velocity (..., 2, H, W)."""
        self.call.spread(self.at[0], pairs.data_ptr(), self.value_at[0], self.flows, self.numbers)
        if mean is not None:
            self.hat[..., 0, 0] = mean * self.cells
        fields: Tensor = irfft2(self.hat, s=self.grid.shape)
        return fields

    def _fluxes(self, fields: Tensor) -> Tensor:
        self.call.products(fields.data_ptr(), self.value_at[1], self.flows, self.cells)
        modes: Tensor = rfft2(self.product)
        return modes

    def _forced(self, force: Tensor | None) -> tuple[int | None, int]:
        """Where the force (..., 1, H, K, 2) is, and the numbers from one flow's to the next."""
        if force is None:
            return None, 0
        return force.data_ptr(), self.numbers if force.numel() > self.numbers else 0

    def _collected(self, modes: Tensor, pairs: Tensor, force: Tensor | None) -> Tensor:
        value, (place, stride) = torch.empty_like(pairs), self._forced(force)
        self.call.collect(
            self.at[1], modes.data_ptr(), place, stride, value.data_ptr(), self.flows, self.numbers
        )
        return value

    def value(
        self,
        pairs: Float[Tensor, "*B 1 H K 2"],
        mean: Float[Tensor, "... 2"] | None,
        force: Float[Tensor, "... 1 H K 2"] | None,
    ) -> Float[Tensor, "*B 1 H K 2"]:
        """N; the mean flow is (..., 2), `force` is its real view (..., 1, H, K, 2)."""
        pairs, force = pairs.contiguous(), _flat(force)
        return self._collected(self._fluxes(self._fields(pairs, mean)), pairs, force)

    def linearise(
        self,
        pairs: Float[Tensor, "*B 1 H K 2"],
        mean: Float[Tensor, "... 2"] | None,
        force: Float[Tensor, "... 1 H K 2"] | None,
        moved: Moved,
        needed: bool = True,
    ) -> tuple[Float[Tensor, "*B 1 H K 2"] | None, Pull]:
        """As `Advection2D.linearise`, of the real view (..., 1, H, K, 2)."""
        pairs, force = pairs.contiguous(), _flat(force)
        fields = self._fields(pairs, mean)
        value = self._collected(self._fluxes(fields), pairs, force) if needed else None
        return value, self._pull(fields, mean, force, moved)

    def stage(
        self,
        u: Float[Tensor, "*B 1 H K 2"],
        now: Float[Tensor, "*B 1 H K 2"],
        mean: Float[Tensor, "... 2"] | None,
        force: Float[Tensor, "... 1 H K 2"] | None,
        weight: Float[Tensor, " ..."],
        users: Float[Tensor, "users *B 1 H K 2"],
        mine: Float[Tensor, "*B 1 H K 2"],
        moved: Moved | None,
    ) -> tuple[Float[Tensor, "*B 1 H K 2"], Pull | None] | None:
        """users (n, ...) += weight N(now), and u + mine; with `moved` the adjoint of N too.

        u and now are (..., 1, H, K, 2), and so is what comes back; mine is one of the users. None
        where something is not laid out without gaps.
        """
        count = len(users)
        each = weight.numel() // count
        if each not in (self.numbers, self.numbers * self.flows):
            return None
        if not (u.is_contiguous() and now.is_contiguous()):
            return None
        if not (weight.is_contiguous() and users.is_contiguous()):
            return None
        force = _flat(force)
        fields = self._fields(now, mean)
        modes, after = self._fluxes(fields), torch.empty_like(u)
        place, stride = self._forced(force)
        self.call.stage(
            self.at[1],
            modes.data_ptr(),
            place,
            stride,
            weight.data_ptr(),
            each,
            self.numbers if each > self.numbers else 0,
            users.data_ptr(),
            mine.data_ptr(),
            u.data_ptr(),
            after.data_ptr(),
            self.flows,
            self.numbers,
            count,
        )
        return after, None if moved is None else self._pull(fields, mean, force, moved)

    def _pull(
        self, fields: Tensor, mean: Tensor | None, force: Tensor | None, moved: Moved
    ) -> Pull:
        def pull(given: Tensor, totals: Totals) -> Tensor:
            if force is not None and totals[0] is not None:
                totals[0] += given.sum_to_size(totals[0].shape)
            given, flows = given.contiguous(), self.flows
            hat, product = self.value_at
            self.call.spread_back(self.at[2], given.data_ptr(), hat, flows, self.numbers)
            slopes = irfft2(self.hat, s=self.grid.shape)
            self.call.products_back(
                slopes.data_ptr(), fields.data_ptr(), product, flows, self.cells
            )
            modes = rfft2(self.product)
            if mean is not None:
                moved(modes[..., 0, 0].real, totals)
            into = torch.empty_like(given)
            self.call.gather(self.at[3], modes.data_ptr(), into.data_ptr(), flows, self.numbers)
            return into

        return pull


def _flat(force: Tensor | None) -> Tensor | None:
    return None if force is None else force.contiguous()
