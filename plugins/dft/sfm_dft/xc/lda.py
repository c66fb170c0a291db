"""Local density functionals: Slater exchange; Perdew-Wang 1992 and Vosko-Wilk-Nusair correlation.

Exchange functions map a `Gas` to an enhancement over the uniform gas's exchange, correlation
functions a `Gas` and its `Spins` (None for a closed shell) to hartree per electron.

libxc names: LDA_X; LDA_C_PW (five digits of the paper) and LDA_C_PW_MOD (more digits; PBE and
r2SCAN build on it); LDA_C_VWN, which is VWN5; LDA_C_VWN_RPA, which B3LYP contains. The two
constant sets of PW92 differ by 2e-7 to 3e-6 hartree for small molecules.

References: Dirac, Proc. Cambridge Phil. Soc. 26, 376 (1930); Perdew, Wang, Phys. Rev. B 45, 13244
(1992); Vosko, Wilk, Nusair, Can. J. Phys. 58, 1200 (1980).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.xc.reduced import CBRT2, Gas, Spins

SLATER = -0.75 * (3.0 / math.pi) ** (1.0 / 3.0)  # hartree bohr per electron^(4/3)


def uniform_exchange(gas: Gas) -> Float[Tensor, "... G"]:
    """Exchange of the uniform gas (..., G), -3/4 (3/pi)^(1/3) n^(1/3), hartree per electron."""
    energy: Tensor = SLATER * gas.root
    return energy


def slater(gas: Gas) -> Float[Tensor, "... G"]:
    """Enhancement 1, (..., G)."""
    return torch.ones_like(gas.n)


class _PerdewWang(NamedTuple):
    """G(rs) = -2 A (1 + alpha rs) ln(1 + 1 / (2 A (b1 rs^1/2 + b2 rs + b3 rs^3/2 + b4 rs^2)))."""

    a: float
    alpha: float
    b1: float
    b2: float
    b3: float
    b4: float

    def __call__(self, gas: Gas) -> Tensor:
        return -2.0 * self.a * (1.0 + self.alpha * gas.rs) * torch.log1p(1.0 / self._inner(gas))

    def with_slope(self, gas: Gas) -> tuple[Tensor, Tensor]:
        """G and rs dG/drs."""
        x = gas.sqrt_rs
        inner = self._inner(gas)
        slope = x * (self.b1 + x * (2.0 * self.b2 + x * (3.0 * self.b3 + x * 4.0 * self.b4)))
        linear, log = self.alpha * gas.rs, torch.log1p(1.0 / inner)
        value = -2.0 * self.a * (1.0 + linear)
        return value * log, -2.0 * self.a * linear * log - value * self.a * slope / (
            inner * (1.0 + inner)
        )

    def _inner(self, gas: Gas) -> Tensor:
        x = gas.sqrt_rs
        return x * (
            2.0 * self.a * self.b1
            + x
            * (2.0 * self.a * self.b2 + x * (2.0 * self.a * self.b3 + x * (2.0 * self.a * self.b4)))
        )


class PerdewWangSet(NamedTuple):
    """Correlation of the unpolarised and the polarised gas and minus the spin stiffness; f''(0)."""

    unpolarised: _PerdewWang
    polarised: _PerdewWang
    stiffness: _PerdewWang
    curvature: float

    def __call__(self, gas: Gas, spins: Spins | None) -> Tensor:
        value = self.unpolarised(gas)
        if spins is None:
            return value
        return self._mix(value, self.polarised(gas), self.stiffness(gas), spins)

    def with_slope(
        self, gas: Gas, spins: Spins | None
    ) -> tuple[Float[Tensor, "*rows G"], Float[Tensor, "*rows G"]]:
        """Correlation per electron and its derivative by ln(rs) at fixed polarisation."""
        value, slope = self.unpolarised.with_slope(gas)
        if spins is None:
            return value, slope
        polarised, stiffness = self.polarised.with_slope(gas), self.stiffness.with_slope(gas)
        return (
            self._mix(value, polarised[0], stiffness[0], spins),
            self._mix(slope, polarised[1], stiffness[1], spins),
        )

    def _mix(self, unpolarised: Tensor, polarised: Tensor, minus: Tensor, spins: Spins) -> Tensor:
        z4 = spins.zeta2.square()
        minus = minus / self.curvature
        return unpolarised + spins.f * (z4 * (polarised - unpolarised + minus) - minus)


_BETA = (
    (0.21370, 7.5957, 3.5876, 1.6382, 0.49294),
    (0.20548, 14.1189, 6.1977, 3.3662, 0.62517),
    (0.11125, 10.357, 3.6231, 0.88026, 0.49671),
)
#: LDA_C_PW
pw92 = PerdewWangSet(
    _PerdewWang(0.031091, *_BETA[0]),
    _PerdewWang(0.015545, *_BETA[1]),
    _PerdewWang(0.016887, *_BETA[2]),
    1.709921,
)
#: LDA_C_PW_MOD
pw92_modified = PerdewWangSet(
    _PerdewWang(0.0310907, *_BETA[0]),
    _PerdewWang(0.01554535, *_BETA[1]),
    _PerdewWang(0.0168869, *_BETA[2]),
    8.0 / (9.0 * (2.0 * CBRT2 - 2.0)),
)


class _Vosko(NamedTuple):
    """VWN's Pade form of x = rs^(1/2), X(x) = x^2 + b x + c and Q = (4 c - b^2)^(1/2).

    A { ln(x^2/X) + 2b/Q atan(Q/(2x+b))
        - b x0/X(x0) [ ln((x-x0)^2/X) + 2 (b + 2 x0)/Q atan(Q/(2x+b)) ] }
    """

    a: float
    b: float
    c: float
    x0: float

    def __call__(self, gas: Gas) -> Tensor:
        a, b, c, x0 = self
        q = math.sqrt(4.0 * c - b * b)
        weight = b * x0 / (x0 * x0 + b * x0 + c)
        x = gas.sqrt_rs
        inverse = 1.0 / (gas.rs + b * x + c)
        # both logarithms go to zero at low density: log1p keeps their digits
        first = torch.log1p(-(b * x + c) * inverse)
        second = torch.log1p(((x0 * x0 - c) - (b + 2.0 * x0) * x) * inverse)
        angle = torch.atan(q / (2.0 * x + b))
        slope = 2.0 * (b - weight * (b + 2.0 * x0)) / q
        return a * (first - weight * second + slope * angle)


_STIFFNESS = _Vosko(-1.0 / (6.0 * math.pi**2), 1.13107, 13.0045, -0.0047584)
_VWN = (
    _Vosko(0.0310907, 3.72744, 12.9352, -0.10498),
    _Vosko(0.01554535, 7.06042, 18.0578, -0.32500),
)
_VWN_RPA = (
    _Vosko(0.0310907, 13.0720, 42.7198, -0.409286),
    _Vosko(0.01554535, 20.1231, 101.578, -0.743294),
)
_CURVATURE = 4.0 / (9.0 * (CBRT2 - 1.0))  # f''(0)


def vwn5(gas: Gas, spins: Spins | None) -> Float[Tensor, " G"]:
    """(G,) VWN's fifth formula, fitted to Ceperley and Alder's Monte Carlo (LDA_C_VWN)."""
    value = _VWN[0](gas)
    if spins is None:
        return value
    z4 = spins.zeta2.square()
    difference, stiffness = _VWN[1](gas) - value, _STIFFNESS(gas) / _CURVATURE
    return value + spins.f * (stiffness + z4 * (difference - stiffness))


def vwn_rpa(gas: Gas, spins: Spins | None) -> Float[Tensor, " G"]:
    """(G,) VWN's fit to the random phase approximation (LDA_C_VWN_RPA), linear in f(zeta)."""
    value = _VWN_RPA[0](gas)
    if spins is None:
        return value
    return value + spins.f * (_VWN_RPA[1](gas) - value)
