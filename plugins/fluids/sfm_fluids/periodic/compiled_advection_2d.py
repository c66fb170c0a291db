"""`Advection2D` with compiled pointwise work: two transforms and three other calls in a stage.

The two velocities are one complex field, u + i v, and so are the two fluxes: a complex transform
each, cheaper than two real ones where calls cost more than work. The numbers are those of
`Advection2D` to rounding. For grids that keep all columns of the spectrum, on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.fft import fft2, ifft2

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

    Modes that the 2/3 rule drops are taken as zero, those of gradients too. Raises `InputError`
    for tensors that are not on the CPU, and where nothing can be compiled.
    """

    @torch.inference_mode(False)  # the work arrays must serve training too
    def __init__(self, grid: Grid, factors: Factors, pairs: Tensor) -> None:
        if pairs.device.type != "cpu":
            raise InputError(f"kernel='compiled' runs on the CPU, not on {pairs.device}")
        super().__init__(grid, factors, pairs)
        self.call = kernels(pairs.dtype)
        *lead, _, height, columns, _ = pairs.shape
        flows, self.numbers = math.prod(lead), 2 * height * columns
        self.count = flows * self.cells
        kept = (height - 1) // 3, (grid.width - 1) // 3
        self.box = torch.tensor([flows, height, grid.width, columns, *kept])
        self.kept = _prepared(factors)
        at = [factor.data_ptr() for factor in self.kept]
        self.velocity_at, self.flux_at, self.flux_back_at, self.velocity_forth_at = (
            (at[i], at[i + 1]) for i in (0, 2, 4, 6)
        )
        self.product = factors.velocity.new_empty(*lead, *grid.shape)
        self.hat = torch.zeros_like(self.product)
        self.hat_at, self.product_at, self.box_at = (
            x.data_ptr() for x in (self.hat, self.product, self.box)
        )

    def _fields(self, pairs: Tensor, mean: Tensor | None) -> Tensor:
        """Velocity u + i v, (..., H, W)."""
        self.call.spread(self.box_at, *self.velocity_at, pairs.data_ptr(), self.hat_at)
        if mean is not None:
            self.hat[..., 0, 0] = torch.view_as_complex(mean.contiguous()) * self.cells
        fields: Tensor = ifft2(self.hat)
        return fields

    def _fluxes(self, fields: Tensor) -> Tensor:
        """Spectrum (..., H, W) of u v + i (v v - u u)."""
        self.call.products(fields.data_ptr(), self.product_at, self.count)
        modes: Tensor = fft2(self.product)
        return modes

    def _forced(self, force: Tensor | None) -> tuple[int | None, int]:
        """Where the force (..., 1, H, K, 2) is, and the numbers from one flow's to the next."""
        if force is None:
            return None, 0
        return force.data_ptr(), self.numbers if force.numel() > self.numbers else 0

    def _collected(self, modes: Tensor, pairs: Tensor, force: Tensor | None) -> Tensor:
        value, (place, stride) = torch.empty_like(pairs), self._forced(force)
        self.call.collect(
            self.box_at, *self.flux_at, modes.data_ptr(), place, stride, value.data_ptr()
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
    ) -> tuple[Float[Tensor, "*B 1 H K 2"], Callable[..., Float[Tensor, " ..."]] | None] | None:
        """users (n, ...) += weight N(now), and u + mine; with `moved` the adjoint of N too.

        u and now are (..., 1, H, K, 2), and so is what comes back; mine is one of the users. None
        where something is not laid out without gaps.
        """
        strides = self._strides(weight, users, u)
        if strides is None or not (u.is_contiguous() and now.is_contiguous()):
            return None
        force = _flat(force)
        fields = self._fields(now, mean)
        modes, after = self._fluxes(fields), torch.empty_like(u)
        place, stride = self._forced(force)
        self.call.stage(
            self.box_at,
            *self.flux_at,
            modes.data_ptr(),
            place,
            stride,
            weight.data_ptr(),
            *strides,
            users.data_ptr(),
            mine.data_ptr(),
            u.data_ptr(),
            after.data_ptr(),
        )
        return after, None if moved is None else self._pull(fields, mean, force, moved)

    def _strides(self, weight: Tensor, users: Tensor, u: Tensor) -> tuple[int, int, int] | None:
        """Numbers from one user's weight to the next, from one flow's to the next, and users.

        None where something is not laid out without gaps.
        """
        count = len(users)
        each = weight.numel() // count
        if each not in (self.numbers, u.numel()):
            return None
        if not (weight.is_contiguous() and users.is_contiguous()):
            return None
        return each, self.numbers if each > self.numbers else 0, count

    def _pull(
        self, fields: Tensor, mean: Tensor | None, force: Tensor | None, moved: Moved
    ) -> Callable[..., Tensor]:
        """The adjoint of N where the velocity is `fields`, as `Term.fused` says."""

        def pull(given: Tensor, totals: Totals, *accumulators: Tensor) -> Tensor:
            if force is not None and totals[0] is not None:
                totals[0] += given.sum_to_size(totals[0].shape)
            given = given.contiguous()
            self.call.spread(self.box_at, *self.flux_back_at, given.data_ptr(), self.hat_at)
            slopes = ifft2(self.hat)
            self.call.products_back(
                slopes.data_ptr(), fields.data_ptr(), self.product_at, self.count
            )
            modes = fft2(self.product)
            if mean is not None:
                moved(torch.view_as_real(modes[..., 0, 0]), totals)
            return self._gathered(modes, given, *accumulators)

        return pull

    def _gathered(
        self,
        modes: Tensor,
        given: Tensor,
        weight: Tensor | None = None,
        users: Tensor | None = None,
        total: Tensor | None = None,
    ) -> Tensor:
        """The gradient of the state from those of both velocities."""
        into, strides = torch.empty_like(given), None
        place = self.box_at, *self.velocity_forth_at, modes.data_ptr()
        if weight is None or users is None or total is None:
            self.call.collect(*place, None, 0, into.data_ptr())
            return into
        if total.is_contiguous():
            strides = self._strides(weight, users, given)
        if strides is None:
            self.call.collect(*place, None, 0, into.data_ptr())
            users.addcmul_(weight, into)
            total += into
            return into
        self.call.stage_back(
            *place,
            weight.data_ptr(),
            *strides,
            users.data_ptr(),
            total.data_ptr(),
            into.data_ptr(),
        )
        return into


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def _prepared(factors: Factors) -> tuple[Tensor, ...]:
    """What `spread` and `collect` take, two each: forth for N, and back for its adjoint."""
    flux, flux_back = factors.flux[..., 0], factors.flux_back[..., 0]  # pairs of equal numbers
    return (
        *_spreading(factors.velocity),
        *_collecting(flux),
        *_spreading(flux_back),
        *_collecting(factors.velocity_forth),
    )


def _flat(force: Tensor | None) -> Tensor | None:
    return None if force is None else force.contiguous()


def _spreading(factors: Tensor) -> tuple[Tensor, Tensor]:
    """From factors (2, H, K) of f and g those of f + i g and f - i g, (H, K) complex each.

    At kx = 0 both say the same of every mode, so there each has half.
    """
    f, g = factors.to(factors.dtype.to_complex()).unbind(0)
    both = torch.stack((f + 1j * g, f - 1j * g))
    both[..., 0] *= 0.5
    plus, minus = both.contiguous().unbind(0)
    return plus, minus


def _collecting(factors: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (H, K) of the spectrum of f + i g at k, and of its conjugate at -k.

    They make f's spectrum times the first of the factors (2, H, K) plus g's times the second.
    """
    f, g = factors.to(factors.dtype.to_complex()).unbind(0)
    here, there = (0.5 * torch.stack((f - 1j * g, f + 1j * g))).contiguous().unbind(0)
    return here, there
