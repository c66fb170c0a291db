"""The right-hand side of 2-D flow with passive scalars: N(u, t) with its adjoint written by hand.

Modes u (..., 1 + S, H, K): the vorticity, then S scalars, in the layout of `transforms`. With the
total stress sigma = v v + tau, a body force f and scalars s in mean gradients G,

    N_omega = -[(dxx - dyy) sigma_xy + dxy (sigma_yy - sigma_xx)] + curl f
    N_s     = -div (v s) - v . G

so a call takes 2 + S inverse and 2 + 2 S forward transforms in two batches (2 more forward ones if
f depends on the flow), and a closure's stress costs none. Each call is linear - pointwise -
linear; the adjoint goes the same way back with as many transforms, from the real fields alone. The
form of N_omega is derived here: it is the curl of -div sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from sfm_fluids.periodic.advection_2d import Advection2D
from sfm_fluids.periodic.compiled_advection_2d import CompiledAdvection2D
from sfm_fluids.spectral.forcing import RingNoise
from sfm_fluids.spectral.grid_2d import Grid, derivative_factors, velocity_factors
from sfm_fluids.spectral.momentum_flux_2d import flux_factors
from sfm_fluids.spectral.transforms_2d import arranged, column_weights, columns, to_modes, to_points
from sfm_fluids.stepping.exponential import paired
from sfm_fluids.stepping.stateless import Stateless
from sfm_fluids.stepping.tableau import Totals
from sfm_fluids.stepping.term import Pull, Term


@dataclass(frozen=True, eq=False)  # the same object is the same constants
class Factors:
    """Constants of a grid; complex unless said otherwise, all (..., H, K)."""

    velocity: Tensor  # (2, H, K), vorticity -> velocity
    flux: Tensor  # real pairs (2, H, K, 2), sigma_xy and sigma_yy - sigma_xx -> vorticity
    minus_div: Tensor  # (2, H, K), -i kx and -i ky of the kept modes
    back: Tensor  # real (H, K), adjoint of `to_modes` as a factor before `to_points`
    forth: Tensor  # real (H, K), adjoint of `to_points` as a factor after `to_modes`
    flux_back: Tensor  # real pairs (2, H, K, 2), adjoint of `flux`, with `back`
    velocity_forth: Tensor  # (2, H, K), adjoint of `velocity`, with `forth`


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def factors_of(grid: Grid, dtype: torch.dtype, device: str) -> Factors:
    """Made in float64 and cast."""
    kept, cells = columns(grid), grid.height * grid.width
    wide = torch.float64
    velocity = velocity_factors(grid, wide, device)[..., :kept]
    flux = flux_factors(grid, wide, device)[..., :kept]
    iky, ikx = derivative_factors(grid, wide, device)
    keep = grid.dealias_mask(device=device)[:, :kept]
    minus_div = -torch.stack(torch.broadcast_tensors(ikx[:, :kept] * keep, iky * keep))
    weights = column_weights(grid, device)
    back, forth = (cells / weights).expand(grid.height, kept), weights / cells
    complex_type = dtype.to_complex()

    def cast(factor: Tensor) -> Tensor:
        kind = complex_type if factor.is_complex() else dtype
        return arranged(factor.resolve_conj().to(kind), grid)

    return Factors(
        velocity=cast(velocity),
        flux=paired(cast(flux)),
        minus_div=cast(minus_div),
        back=cast(back),
        forth=cast(forth.expand(grid.height, kept)),
        flux_back=paired(cast(flux * back)),
        velocity_forth=cast(velocity.conj() * forth),
    )


@dataclass
class NonlinearTerm2D:
    """What N is made of; `term()` states it for a rollout.

    Attributes:
        grid: points and lengths.
        scalars: S.
        force: modes (H, K) or (B, H, K) of the curl of a steady force, or None.
        mean: mean velocity (..., 2) at time `start`, or None if it is zero for good.
        drag: alpha, by which the mean decays, () or (B,).
        start: the time of `mean`.
        dt: length of a step, for what is held through one.
        gradient: G, (S, 2) or (B, S, 2), or None.
        closure: (velocity (..., 2, H, W), spacing) -> tau (..., 2, 2, H, W), or None.
        hold: evaluate the closure once a step.
        forcing: (velocity (..., 2, H, W), time) -> force (..., 2, H, W), or None. The mean of the
            force is dropped.
        noise: a random force that is held through each step, or None.
        noise_rate: its energy supply, () or (B,).
        first_member: number of the first flow of the batch, which chooses its noise.
        kernel: `torch` or `compiled`, of the pointwise work where there are two products alone.
    """

    grid: Grid
    scalars: int = 0
    force: Complex[Tensor, "... H K"] | None = None
    mean: Float[Tensor, "... 2"] | None = None
    drag: Float[Tensor, " ..."] | None = None
    start: float = 0.0
    dt: float = 0.0
    gradient: Float[Tensor, "... S 2"] | None = None
    closure: Stateless | None = None
    hold: bool = False
    forcing: Stateless | None = None
    noise: RingNoise | None = None
    noise_rate: Float[Tensor, " ..."] | None = None
    first_member: int = 0
    kernel: str = "torch"
    _slots: dict[str, slice] = field(default_factory=dict, repr=False)
    _made: Factors | None = field(default=None, repr=False)
    _plain: Advection2D | None = field(default=None, repr=False)

    def term(self) -> Term:
        """N as a `Term` whose tensors are those of all the parts."""
        tensors: list[Tensor] = []
        for name, given in (
            ("force", self._force_pairs()),
            ("mean", () if self.mean is None else (self.mean, self.drag)),
            ("gradient", () if self.gradient is None else (self.gradient,)),
            ("closure", () if self.closure is None else self.closure.tensors),
            ("forcing", () if self.forcing is None else self.forcing.tensors),
            ("noise", () if self.noise is None else (self.noise_rate,)),
        ):
            self._slots[name] = slice(len(tensors), len(tensors) + len(given))
            tensors.extend(given)  # type: ignore[arg-type]
        holds = self.noise is not None or (self.hold and self.closure is not None)
        return Term(
            function=self.function,
            tensors=tuple(tensors),
            held=self.held if holds else None,
            linearise=self.linearise,
            fast=self.fast,
            pull=self.pull,
            kept=self.kept,
            fused=self.fused if self.kernel == "compiled" else None,
            pairs=True,
        )

    def _force_pairs(self) -> tuple[Tensor, ...]:
        if self.force is None:
            return ()
        return (_pairs(arranged(self.force, self.grid).unsqueeze(-3)),)

    # --- readable, differentiable in every mode -------------------------------------------------

    def function(
        self, u: Complex[Tensor, "*B fields H K"], time: float, *tensors: Shaped[Tensor, " ..."]
    ) -> Complex[Tensor, "*B fields H K"]:
        """N(u, t)."""
        hat = self._factors(u).velocity * u[..., :1, :, :]
        fields = to_points(
            torch.cat((hat, u[..., 1:, :, :]), -3) if self.scalars else hat, self.grid
        )
        mean = self._mean(time, tensors)
        if mean is not None:
            velocity = fields[..., :2, :, :] + mean[..., None, None]
            fields = torch.cat((velocity, fields[..., 2:, :, :]), -3) if self.scalars else velocity
        flux = to_modes(self.flux(fields, time, tensors), self.grid)
        return self._collect(u, flux, mean, tensors)

    def flux(
        self,
        fields: Float[Tensor, "*B velocities H W"],
        time: float,
        tensors: Sequence[Shaped[Tensor, " ..."]],
    ) -> Float[Tensor, "*B fluxes H W"]:
        """Pointwise: velocity and scalars (..., 2 + S, H, W) -> (..., 2 + 2 S [+ 2], H, W)."""
        u, v, s = fields[..., :1, :, :], fields[..., 1:2, :, :], fields[..., 2:, :, :]
        flux = [u * v, v * v - u * u, u * s, v * s]
        velocity = fields[..., :2, :, :]
        if self.closure is not None and not self.hold:
            for i, part in enumerate(self._stress(velocity, tensors)):
                flux[i] = flux[i] + part
        if self.forcing is not None:
            given = tensors[self._slots["forcing"]]
            flux.append(self.forcing.call((velocity, time), given))
        return torch.cat(flux, -3)

    def held(
        self, u: Complex[Tensor, "*B fields H K"], n: int, *tensors: Shaped[Tensor, " ..."]
    ) -> Complex[Tensor, "*B fields H K"]:
        """The part of N that is kept through step n: noise, and a closure that is held."""
        tendency = torch.zeros_like(u[..., :1, :, :])
        if self.noise is not None:
            (rate,) = tensors[self._slots["noise"]]
            count = u.shape[-4] if u.ndim > 3 else 1
            members = range(self.first_member, self.first_member + count)
            curl = self.noise.modes(n, members, rate, u.real.dtype, u.device)
            tendency = tendency + (curl.unsqueeze(-3) if u.ndim > 3 else curl)
        if self.closure is not None and self.hold:
            hat = self._factors(u).velocity * u[..., :1, :, :]
            velocity = to_points(hat, self.grid)
            if self.mean is not None:
                mean, drag = tensors[self._slots["mean"]]
                velocity = velocity + decayed(mean, drag, n * self.dt - self.start)[..., None, None]
            stress = to_modes(torch.cat(self._stress(velocity, tensors), -3), self.grid)
            pairs = (self._factors(u).flux * torch.view_as_real(stress)).sum(-4, keepdim=True)
            tendency = tendency + torch.view_as_complex(pairs)
        rest = u.new_zeros(()).expand_as(u[..., 1:, :, :])
        return torch.cat((tendency, rest), -3) if self.scalars else tendency

    def _stress(self, velocity: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        assert self.closure is not None
        given = tensors[self._slots["closure"]]
        tau = self.closure.call((velocity, self.grid.isotropic_spacing), given)
        shear = 0.5 * (tau[..., 0, 1, :, :] + tau[..., 1, 0, :, :])
        return shear.unsqueeze(-3), (tau[..., 1, 1, :, :] - tau[..., 0, 0, :, :]).unsqueeze(-3)

    def _mean(self, time: float, tensors: Sequence[Tensor]) -> Tensor | None:
        if self.mean is None:
            return None
        mean, drag = tensors[self._slots["mean"]]
        return decayed(mean, drag, time - self.start)

    def _factors(self, u: Tensor) -> Factors:
        """The grid's constants for complex coefficients like u."""
        factors = self._made
        if (
            factors is None
            or factors.velocity.dtype != u.dtype
            or factors.velocity.device != u.device
        ):
            factors = self._made = factors_of(self.grid, u.real.dtype, str(u.device))
        return factors

    def _collect(
        self, u: Tensor, flux: Tensor, mean: Tensor | None, tensors: Sequence[Tensor]
    ) -> Tensor:
        """From modes of the fluxes to N."""
        factors, count = self._factors(u), self.scalars
        real = torch.view_as_real(flux)
        tendency = torch.view_as_complex(
            factors.flux[0] * real[..., 0, :, :, :] + factors.flux[1] * real[..., 1, :, :, :]
        )
        if self.forcing is not None:
            fx, fy = flux[..., -2, :, :], flux[..., -1, :, :]
            tendency = tendency + (factors.minus_div[1] * fx - factors.minus_div[0] * fy)
        if self.force is not None:
            force = torch.view_as_complex(tensors[self._slots["force"]][0])
            tendency = tendency + force.squeeze(-3)
        tendency = tendency.unsqueeze(-3)
        if not count:
            return tendency
        carried = factors.minus_div[0] * flux[..., 2 : 2 + count, :, :]
        carried = carried + factors.minus_div[1] * flux[..., 2 + count : 2 + 2 * count, :, :]
        if self.gradient is not None:
            (gradient,) = tensors[self._slots["gradient"]]
            hat = factors.velocity * u[..., :1, :, :]
            if mean is not None:
                height, kept = u.shape[-2:]
                total = (mean * self.grid.height * self.grid.width)[..., None, None]
                hat = hat + torch.nn.functional.pad(total, (0, kept - 1, 0, height - 1))
            for axis in (0, 1):
                along = hat[..., axis : axis + 1, :, :]
                carried = carried - gradient[..., axis, None, None] * along
        return torch.cat((tendency, carried), -3)

    # --- by hand, without autograd --------------------------------------------------------------

    def _kernel(self, pairs: Tensor) -> Advection2D | None:
        """The short way for modes like these, where the pointwise part is the two products."""
        plain = self._plain
        if plain is not None and plain.shape == pairs.shape and plain.dtype == pairs.dtype:
            return plain
        acts = self.closure is not None and not self.hold
        if self.scalars or acts or self.forcing is not None:
            return None
        factors = self._factors(torch.view_as_complex(pairs))
        kind = CompiledAdvection2D if self.kernel == "compiled" else Advection2D
        plain = self._plain = kind(self.grid, factors, pairs)
        return plain

    def fast(
        self, pairs: Float[Tensor, "*B fields H K 2"], time: float, *tensors: Shaped[Tensor, " ..."]
    ) -> Float[Tensor, "*B fields H K 2"]:
        """N(u, t) of the real view of u, with few calls and few temporaries."""
        plain = self._kernel(pairs)
        if plain is not None:
            return plain.value(pairs, self._mean(time, tensors), self._steady(tensors))
        u = torch.view_as_complex(pairs)
        fields = self._fields(u, time, tensors)
        flux = to_modes(self.flux(fields, time, tensors), self.grid)
        return _pairs(self._collect(u, flux, self._mean(time, tensors), tensors))

    def fused(
        self,
        u: Float[Tensor, "*B fields H K 2"],
        now: Float[Tensor, "*B fields H K 2"],
        time: float,
        weight: Float[Tensor, " ..."],
        users: Float[Tensor, "users *B fields H K 2"],
        mine: Float[Tensor, "*B fields H K 2"],
        pulled: bool,
        *tensors: Shaped[Tensor, " ..."],
    ) -> (
        tuple[Float[Tensor, "*B fields H K 2"], Callable[..., Float[Tensor, " ..."]] | None] | None
    ):
        """A stage in few calls, as `Term.fused` says."""
        plain = self._kernel(now)
        if not isinstance(plain, CompiledAdvection2D):
            return None
        mean, force = self._mean(time, tensors), self._steady(tensors)
        moved = self._moved(time, tensors) if pulled else None
        return plain.stage(u, now, mean, force, weight, users, mine, moved)

    def pull(
        self, pairs: Float[Tensor, "*B fields H K 2"], time: float, *tensors: Shaped[Tensor, " ..."]
    ) -> Pull:
        """The adjoint alone."""
        plain = self._kernel(pairs)
        if plain is None:
            return self.linearise(pairs, time, *tensors)[1]
        return self._short(plain, pairs, time, tensors, False)[1]

    def kept(self, pairs: Float[Tensor, "*B fields H K 2"]) -> int:
        """Bytes of the velocity, where that is all that the adjoint holds; else 0."""
        plain = self._kernel(pairs)
        return 0 if plain is None else plain.product.numel() * plain.product.element_size()

    def _short(
        self,
        plain: Advection2D,
        pairs: Tensor,
        time: float,
        tensors: Sequence[Tensor],
        needed: bool,
    ) -> tuple[Tensor | None, Pull]:
        mean, moved = self._mean(time, tensors), self._moved(time, tensors)
        return plain.linearise(pairs, mean, self._steady(tensors), moved, needed)

    def _moved(self, time: float, tensors: Sequence[Tensor]) -> Callable[[Tensor, Totals], None]:
        """What takes the gradient of the mean flow at a time."""
        return lambda drift, totals: self._pull_mean(drift, time, tensors, totals)

    def _steady(self, tensors: Sequence[Tensor]) -> Tensor | None:
        return None if self.force is None else tensors[0]

    def linearise(
        self, pairs: Float[Tensor, "*B fields H K 2"], time: float, *tensors: Shaped[Tensor, " ..."]
    ) -> tuple[Float[Tensor, "*B fields H K 2"], Pull]:
        """N(u, t) of the real view of u, and its adjoint."""
        plain = self._kernel(pairs)
        if plain is not None:
            value_and_pull = self._short(plain, pairs, time, tensors, True)
            assert value_and_pull[0] is not None
            return value_and_pull[0], value_and_pull[1]
        u = torch.view_as_complex(pairs)
        fields = self._fields(u, time, tensors)
        flux, pull_flux = self._flux_by_autograd(fields, time, tensors)
        mean = self._mean(time, tensors)
        value = _pairs(self._collect(u, to_modes(flux, self.grid), mean, tensors))

        def pull(given: Tensor, totals: Totals) -> Tensor:
            factors, grad = self._factors(u), torch.view_as_complex(given)
            cotangent = to_points(self._spread(given, grad), self.grid)
            modes = to_modes(pull_flux(cotangent, totals), self.grid)
            if self.force is not None:
                _add(totals[self._slots["force"]][0], given[..., :1, :, :, :])
            by_u, by_v = modes[..., :2, :, :].split(1, -3)
            into_u = factors.velocity_forth[0] * by_u
            into_u.addcmul_(factors.velocity_forth[1], by_v)
            if not self.scalars and self.mean is None:
                return torch.view_as_real(into_u)
            drift = modes[..., :2, 0, 0].real
            if self.scalars:
                more = factors.forth * modes[..., 2:, :, :]
                if self.gradient is not None:
                    into_u, drift = self._pull_gradient(
                        u, grad, time, tensors, totals, into_u, drift
                    )
                into_u = torch.cat((into_u, more), -3)
            if self.mean is not None:
                self._pull_mean(drift, time, tensors, totals)
            return _pairs(into_u)

        return value, pull

    def _fields(self, u: Tensor, time: float, tensors: Sequence[Tensor]) -> Tensor:
        factors = self._factors(u)
        if self.scalars:
            hat = torch.cat((factors.velocity * u[..., :1, :, :], u[..., 1:, :, :]), -3)
        else:
            hat = factors.velocity * u
        mean = self._mean(time, tensors)
        if mean is not None:
            hat[..., :2, 0, 0] = mean * (self.grid.height * self.grid.width)
        return to_points(hat, self.grid)

    def _flux_by_autograd(
        self, fields: Tensor, time: float, tensors: Sequence[Tensor]
    ) -> tuple[Tensor, Callable[[Tensor, Totals], Tensor]]:
        used = [i for name in ("closure", "forcing") for i in _range(self._slots[name])]
        with torch.enable_grad():
            start = fields.detach().requires_grad_()
            given = [t.detach() for t in tensors]
            for i in used:
                if given[i].is_floating_point():
                    given[i].requires_grad_()
            flux = self.flux(start, time, given)

        def pull(grad: Tensor, totals: Totals) -> Tensor:
            needed = [i for i in used if totals[i] is not None]
            slopes = torch.autograd.grad(
                flux,
                [start, *(given[i] for i in needed)],
                grad,
                retain_graph=True,
                allow_unused=True,
            )
            for i, more in zip(needed, slopes[1:], strict=True):
                if more is not None:
                    _add(totals[i], more)
            return slopes[0]

        return flux.detach(), pull

    def _spread(self, pairs: Tensor, grad: Tensor) -> Tensor:
        """Adjoint of `_collect` and `to_modes`, up to the factor-free inverse transform."""
        factors, count = self._factors(grad), self.scalars
        if not count and self.forcing is None:
            return torch.view_as_complex(factors.flux_back * pairs)
        parts = [torch.view_as_complex(factors.flux_back * pairs[..., :1, :, :, :])]
        weighted, div = factors.back * grad, factors.minus_div.conj()
        if count:
            parts += [div[0] * weighted[..., 1:, :, :], div[1] * weighted[..., 1:, :, :]]
        if self.forcing is not None:
            parts += [div[1] * weighted[..., :1, :, :], -div[0] * weighted[..., :1, :, :]]
        return torch.cat(parts, -3)

    def _pull_gradient(
        self,
        u: Tensor,
        grad: Tensor,
        time: float,
        tensors: Sequence[Tensor],
        totals: Totals,
        cotangent_u: Tensor,
        drift: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Adjoint of -v . G: into the vorticity, the mean flow and G."""
        factors, cells = self._factors(u), self.grid.height * self.grid.width
        (gradient,) = tensors[self._slots["gradient"]]
        hat = factors.velocity * u[..., :1, :, :]
        mean = self._mean(time, tensors)
        if mean is not None:
            hat[..., :2, 0, 0] = mean * cells
        slope, into = [], []
        for axis in (0, 1):
            along = gradient[..., axis, None, None]
            into.append(-(along * grad[..., 1:, :, :]).sum(-3))
            product = grad[..., 1:, :, :] * hat[..., axis : axis + 1, :, :].conj()
            slope.append(-product.real.sum((-2, -1)))
        _add(totals[self._slots["gradient"]][0], torch.stack(slope, -1))
        cotangent = torch.stack(into, -3)
        cotangent_u = cotangent_u + (factors.velocity.conj() * cotangent).sum(-3, keepdim=True)
        return cotangent_u, drift + cells * cotangent[..., 0, 0].real

    def _pull_mean(
        self, drift: Tensor, time: float, tensors: Sequence[Tensor], totals: Totals
    ) -> None:
        into = totals[self._slots["mean"]]
        with torch.enable_grad():
            mean, drag = (t.detach().requires_grad_() for t in tensors[self._slots["mean"]])
            now = decayed(mean, drag, time - self.start)
            slopes = torch.autograd.grad(now, (mean, drag), drift)
        for total, more in zip(into, slopes, strict=True):
            _add(total, more)


def decayed(
    mean: Float[Tensor, "*B 2"], drag: Float[Tensor, " ..."], time: float
) -> Float[Tensor, "... 2"]:
    """The mean flow (..., 2) after `time`: mean exp(-alpha t)."""
    return mean * torch.exp(-drag * time)[..., None]


def _pairs(modes: Tensor) -> Tensor:
    return torch.view_as_real(modes.resolve_conj())


def _add(total: Tensor | None, more: Tensor) -> None:
    if total is not None:
        total += more.sum_to_size(total.shape)


def _range(part: slice) -> range:
    return range(part.start, part.stop)
