"""Dimensionless variables that semilocal functionals are written in.

With n the density, kF = (3 pi^2 n)^(1/3) and rs = (3 / (4 pi n))^(1/3):

    s^2 = |grad n|^2 / (2 kF n)^2        reduced gradient
    w   = tau / tau_uniform,  tau_uniform = 3/10 kF^2 n;  von Weizsaecker's is w = 5/3 s^2
    zeta = (n_up - n_down) / n           polarisation

Points with n <= ``DENSITY_FLOOR`` (and spins with 2 n_spin <= ``DENSITY_FLOOR``) count as empty.
Their variables are those of n = 1, finite to any derivative, and `Gas.energy` makes their energy
and all its derivatives exactly zero.

J. P. Perdew, K. Burke and M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996), for s; G. L. Oliver and
J. P. Perdew, Phys. Rev. A 20, 397 (1979), for spin scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfm_dft.xc.contract import Rung
from sfm_dft.xc.density import GridDensity
from sfm_dft.xc.roots import clamp_value, cube_root

DENSITY_FLOOR = 1e-14  # electrons per bohr^3
RS_FACTOR = (3.0 / (4.0 * math.pi)) ** (1.0 / 3.0)
FERMI_FACTOR = (3.0 * math.pi**2) ** (1.0 / 3.0)
TAU_FACTOR = 0.3 * FERMI_FACTOR**2
CBRT2 = 2.0 ** (1.0 / 3.0)


@dataclass(frozen=True)
class Gas:
    """A density and its reduced variables, all of one shape (..., G).

    Attributes:
        counted: where the density is above the floor. n: the density, 1 where it is not.
        root: n^(1/3). s2: s^2, or None for a local functional. w: tau / tau_uniform, or None.
    """

    counted: Bool[Tensor, "*rows G"]
    n: Float[Tensor, "*rows G"]
    root: Float[Tensor, "*rows G"]
    s2: Float[Tensor, "*rows G"] | None = None
    w: Float[Tensor, "*rows G"] | None = None

    @cached_property
    def rs(self) -> Float[Tensor, "... G"]:
        """Wigner-Seitz radius, bohr."""
        radius: Tensor = RS_FACTOR / self.root
        return radius

    @cached_property
    def sqrt_rs(self) -> Float[Tensor, "... G"]:
        """Square root of rs."""
        return self.rs.sqrt()

    def gradient2(self) -> Float[Tensor, "... G"]:
        """s^2 of a functional that reads it."""
        assert self.s2 is not None, "this density was made without gradients"
        return self.s2

    def kinetic(self) -> Float[Tensor, "... G"]:
        """w of a functional that reads it."""
        assert self.w is not None, "this density was made without tau"
        return self.w

    def energy(self, per_electron: Float[Tensor, "*rows G"]) -> Float[Tensor, "*rows G"]:
        """Energy per volume, zero where the density is not counted."""
        return torch.where(self.counted, self.n * per_electron, 0.0)


@dataclass(frozen=True)
class Spins:
    """How a density divides into spins; no instance stands for two equal ones.

    Attributes:
        fraction: (2, G) 1 + zeta and 1 - zeta, zero where a spin is empty. root: (2, G) its cube
            root. s2: (2, G) |grad n_spin|^2 and s2_mixed: (G,) grad n_up . grad n_down, both in
            the unit of the total's s^2; None for a local functional.
    """

    fraction: Float[Tensor, "2 G"]
    root: Float[Tensor, "2 G"]
    s2: Float[Tensor, "2 G"] | None = None
    s2_mixed: Float[Tensor, " G"] | None = None

    @cached_property
    def zeta2(self) -> Float[Tensor, " G"]:
        """zeta^2."""
        return (0.5 * (self.fraction[0] - self.fraction[1])).square()

    @cached_property
    def product(self) -> Float[Tensor, " G"]:
        """1 - zeta^2, without cancellation."""
        return self.fraction[0] * self.fraction[1]

    @cached_property
    def f(self) -> Float[Tensor, " G"]:
        """[(1+zeta)^(4/3) + (1-zeta)^(4/3) - 2] / (2^(4/3) - 2): 0 unpolarised, 1 polarised."""
        return ((self.fraction * self.root).sum(0) - 2.0) / (2.0 * CBRT2 - 2.0)

    @cached_property
    def phi(self) -> Float[Tensor, " G"]:
        """[(1+zeta)^(2/3) + (1-zeta)^(2/3)] / 2."""
        return 0.5 * self.root.square().sum(0)

    @cached_property
    def kinetic(self) -> Float[Tensor, " G"]:
        """[(1+zeta)^(5/3) + (1-zeta)^(5/3)] / 2: tau of the polarised uniform gas."""
        return 0.5 * (self.fraction * self.root.square()).sum(0)


@dataclass(frozen=True)
class Reduced:
    """One density as exchange and as correlation see it.

    Attributes:
        exchange: the closed-shell densities 2 n_up and 2 n_down, (2, G), of spin scaling
            E_x[n_up, n_down] = (E_x[2 n_up] + E_x[2 n_down]) / 2; of a closed shell the total,
            (G,).
        total: the total density, (G,); of a closed shell the same object. spins: or None for a
            closed shell.
    """

    exchange: Gas
    total: Gas
    spins: Spins | None


def reduced(density: GridDensity, rung: Rung) -> Reduced:
    """The variables that functionals of that rung read.

    A closed shell is prepared once: one power per point; a polarised density takes three.
    """
    same, mixed, other = density.sigma() if rung != "lda" else (None, None, None)
    tau = density.tau if rung == "mgga" else None
    assert rung != "mgga" or tau is not None, "this density was made without tau"
    if tau is not None and same is not None and mixed is not None and other is not None:
        tau = clamp_value(tau, torch.zeros_like(tau[:1, :1]), None)
        same, mixed, other = _within_bound(same, mixed, other, density.rho, tau)
    if density.closed_shell:
        gas = _gas(
            2.0 * density.rho[0],
            None if same is None else 4.0 * same,
            None if tau is None else 2.0 * tau[0],
        )
        return Reduced(gas, gas, None)
    sigma = None if same is None or other is None else torch.stack([same, other])
    total = _gas(
        density.total,
        None if sigma is None or mixed is None else sigma.sum(0) + 2.0 * mixed,
        None if tau is None else tau.sum(0),
    )
    exchange = _gas(
        2.0 * density.rho,
        None if sigma is None else 4.0 * sigma,
        None if tau is None else 2.0 * tau,
        total.counted,
    )
    # a spin below the floor has no cube root worth the name, and its derivative must not be one
    fraction = torch.where(exchange.counted, exchange.n / total.n, 0.0)
    root = torch.where(exchange.counted, exchange.root / total.root, 0.0)
    # where the total counts for nothing, any polarisation does but the one without electrons
    fraction, root = (torch.where(total.counted, x, 1.0) for x in (fraction, root))
    if sigma is None or mixed is None:
        return Reduced(exchange, total, Spins(fraction, root))
    unit = _gradient_unit(total.n, total.root)
    return Reduced(exchange, total, Spins(fraction, root, sigma * unit, mixed * unit))


def _within_bound(
    same: Tensor, mixed: Tensor, other: Tensor, rho: Tensor, tau: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients lowered to von Weizsaecker's bound |grad rho|^2 <= 8 rho tau of each spin.

    Only rounding and density fitting break the bound. As in libxc ("Fermi hole curvature"), the
    energy is then that of the lowered gradients, and its derivatives are those at them; one
    orbital's density, which lies on the bound, keeps smooth derivatives.
    """
    bound = (8.0 * rho * tau).clamp(min=0.0).detach()
    same = clamp_value(same, None, bound[0])
    if len(rho) == 1:
        return same, same, same
    other = clamp_value(other, None, bound[1])
    mean = 0.5 * (same + other).detach()
    return same, clamp_value(mixed, -mean, mean), other


def _gradient_unit(n: Tensor, root: Tensor) -> Tensor:
    """1 / (2 kF n)^2."""
    unit: Tensor = (0.25 / FERMI_FACTOR**2) / (n * root).square()
    return unit


def _gas(n: Tensor, sigma: Tensor | None, tau: Tensor | None, within: Tensor | bool = True) -> Gas:
    counted = (n > DENSITY_FLOOR) & within
    n = torch.where(counted, n, 1.0)
    root = cube_root(n)
    return Gas(
        counted,
        n,
        root,
        None if sigma is None else sigma * _gradient_unit(n, root),
        None if tau is None else tau / (TAU_FACTOR * n * root.square()),
    )
