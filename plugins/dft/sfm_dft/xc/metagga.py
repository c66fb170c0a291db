"""The meta-GGA r2SCAN, exchange and correlation.

libxc names: MGGA_X_R2SCAN, MGGA_C_R2SCAN. Signatures as in `sfm_dft.xc.lda`.

The iso-orbital indicator alpha = (tau - tau_W) / (tau_uniform + eta tau_W) is zero where one
orbital makes the density. Where tau lies below von Weizsaecker's tau_W, `sfm_dft.xc.reduced`
lowers the gradients first, as libxc does. That leaves a negative alpha to rounding, and to
correlation where both spins break the bound, whose mixed gradient is lowered less.

References: Furness, Kaplan, Ning, Perdew, Sun, J. Phys. Chem. Lett. 11, 8208 (2020) and 9248
(correction); Bartok, Yates, J. Chem. Phys. 150, 161101 (2019) for the switching polynomial.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.xc.gga import PBE_BETA, PBE_GAMMA, T_FACTOR
from sfm_dft.xc.lda import pw92_modified
from sfm_dft.xc.reduced import CBRT2, Gas, Spins

_ETA = 0.001
_DAMPING = 0.361**4
_SWITCH_TO = 2.5  # alpha up to which the switching functions are polynomials

_MU = 10.0 / 81.0
_K1 = 0.065
_H0 = 1.174
_X_POLYNOMIAL = (
    1.0,
    -0.667,
    -0.4445555,
    -0.663086601049,
    1.451297044490,
    -0.887998041597,
    0.234528941479,
    -0.023185843322,
)
_X_C1, _X_C2, _X_D = 0.667, 0.8, 1.24
_X_A1 = 4.9479

_C_POLYNOMIAL = (
    1.0,
    -0.64,
    -0.4352,
    -1.535685604549,
    3.061560252175,
    -1.915710236206,
    0.516884468372,
    -0.051848879792,
)
_C_C1, _C_C2, _C_D = 0.64, 1.5, 0.7
_B1, _B2, _B3 = 0.0285764, 0.0889, 0.125541
_CHI = 0.12802585262625815
_SPIN = 2.363 * (CBRT2 - 1.0)


def _slope_at_one(polynomial: tuple[float, ...]) -> float:
    return sum(power * c for power, c in enumerate(polynomial))


_X_GRADIENT = -(20.0 / 27.0 + _ETA * 5.0 / 3.0) * _slope_at_one(_X_POLYNOMIAL) * (1.0 - _H0)
_C_GRADIENT = _slope_at_one(_C_POLYNOMIAL) / (27.0 * PBE_GAMMA)


def _alpha(gas: Gas, spins: Spins | None) -> Tensor:
    weizsaecker = (5.0 / 3.0) * gas.gradient2()
    uniform = 1.0 if spins is None else spins.kinetic
    return (gas.kinetic() - weizsaecker) / (uniform + _ETA * weizsaecker)


def _switch(alpha: Tensor, polynomial: tuple[float, ...], c1: float, c2: float, d: float) -> Tensor:
    """f(alpha): 1 at 0, 0 at 1, -d at infinity; exp(-c1 alpha / (1 - alpha)) below 0."""
    a = alpha.clamp(0.0, _SWITCH_TO)
    inner = polynomial[-2] + a * polynomial[-1]
    for coefficient in polynomial[-3::-1]:
        inner = coefficient + a * inner
    outside, high = alpha > _SWITCH_TO, alpha.clamp(min=_SWITCH_TO)
    # not a clamp, through which alpha = 0 would count twice in the derivative
    low = torch.where(alpha < 0.0, alpha, 0.0)
    # one exponential for both tails; it is 1 between them, and the polynomial is 1 below 0
    tail = torch.exp(torch.where(outside, c2 / (1.0 - high), -c1 * low / (1.0 - low)))
    return tail * torch.where(outside, -d, inner)


def _short(s2: Tensor) -> Tensor:
    """s^2 exp(-s^4 / 0.361^4); the exponent stops where exp would slow down in underflow."""
    return s2 * torch.exp((s2.square() * (-1.0 / _DAMPING)).clamp(min=-300.0))


def r2scan_exchange(gas: Gas) -> Float[Tensor, "... G"]:
    """F = [h1 + f(alpha) (h0 - h1)] g(s)."""
    s2 = gas.gradient2()
    x = _X_GRADIENT * _short(s2) + _MU * s2
    h1 = 1.0 + _K1 * x / (_K1 + x)
    f = _switch(_alpha(gas, None), _X_POLYNOMIAL, _X_C1, _X_C2, _X_D)
    # below s = 1e-4 the exponential is zero in double precision; s^(1/2) has no derivative at 0
    quarter = s2.clamp(min=1e-8).sqrt().rsqrt()
    return -(h1 + f * (_H0 - h1)) * torch.expm1(-_X_A1 * quarter)


def r2scan_correlation(gas: Gas, spins: Spins | None) -> Float[Tensor, " G"]:
    """(G,) e_c = ec1 + f(alpha) (ec0 - ec1), hartree per electron.

    As for PBE, e_LDA + H becomes one logarithm: with E = exp(e_LDA / (gamma phi^3)) - 1,
    ec1 = gamma phi^3 ln(1 + E g), and ec0 = b1 ln(1 + E0 g0) G(zeta) in the same way.
    """
    s2 = gas.gradient2()
    uniform, slope = pw92_modified.with_slope(gas, spins)
    # the single-orbital limit of the uniform gas, and its derivative by ln(rs)
    denominator = 1.0 / (1.0 + _B2 * gas.sqrt_rs + _B3 * gas.rs)
    single = -_B1 * denominator
    single_slope = _B1 * (0.5 * _B2 * gas.sqrt_rs + _B3 * gas.rs) * denominator.square()
    beta = (PBE_BETA / PBE_GAMMA) * (1.0 + 0.1 * gas.rs) / (1.0 + 0.1778 * gas.rs)
    t2 = T_FACTOR * gas.root * s2
    excess0 = torch.expm1(-denominator)
    e0 = _B1 * torch.log1p(excess0 * (1.0 + 4.0 * _CHI * s2).sqrt().rsqrt())
    if spins is None:
        scale: Tensor | float = PBE_GAMMA
        gradient: Tensor | float = _C_GRADIENT
    else:
        z2 = spins.zeta2
        z4 = z2.square()
        # 1 - zeta^12 in factors that do not cancel
        spin = (1.0 - _SPIN * spins.f) * spins.product * (1.0 + z2) * (1.0 + z4 + z4.square())
        single, single_slope, e0 = single * spin, single_slope * spin, e0 * spin
        phi3 = spins.phi.square() * spins.phi
        scale, t2 = PBE_GAMMA * phi3, t2 / spins.phi.square()
        gradient = _C_GRADIENT / (spins.kinetic * phi3)
    excess = torch.expm1(uniform / scale)
    dy = gradient * (20.0 * (single_slope - slope) - 45.0 * _ETA * (single - uniform)) * _short(s2)
    y = (dy - beta * t2) * (1.0 + excess) / excess  # y - dy of the paper: 1/w1 = -(1+E)/E
    e1 = scale * torch.log1p(excess * (1.0 + 4.0 * y).sqrt().rsqrt())
    f = _switch(_alpha(gas, spins), _C_POLYNOMIAL, _C_C1, _C_C2, _C_D)
    return e1 + f * (e0 - e1)
