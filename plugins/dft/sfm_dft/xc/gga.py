"""Gradient-corrected functionals: PBE, B88 exchange, LYP correlation.

libxc names: GGA_X_PBE, GGA_C_PBE, GGA_X_B88, GGA_C_LYP. Signatures as in `sfm_dft.xc.lda`.

References: Perdew, Burke, Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996); Becke, Phys. Rev. A 38,
3098 (1988); Lee, Yang, Parr, Phys. Rev. B 37, 785 (1988) in the form of Miehlich, Savin, Stoll,
Preuss, Chem. Phys. Lett. 157, 200 (1989).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.xc.lda import SLATER, pw92_modified
from sfm_dft.xc.reduced import CBRT2, FERMI_FACTOR, TAU_FACTOR, Gas, Spins

PBE_KAPPA = 0.804
PBE_MU = 0.2195149727645171
PBE_BETA = 0.06672455060314922
PBE_GAMMA = (1.0 - math.log(2.0)) / math.pi**2

#: t^2 = T_FACTOR n^(1/3) s^2 / phi^2: |grad n|^2 in the unit of the screening length
T_FACTOR = 0.25 * math.pi * FERMI_FACTOR

_B88_BETA = 0.0042
_B88_UNIT = 4.0 * FERMI_FACTOR**2 * CBRT2**2  # x^2 / s^2, x = |grad n_spin| / n_spin^(4/3)
_B88_FACTOR = -_B88_BETA / (CBRT2 * SLATER)  # beta over the exchange constant of one spin

_LYP_A, _LYP_B, _LYP_C, _LYP_D = 0.04918, 0.132, 0.2533, 0.349


def pbe_exchange(gas: Gas) -> Float[Tensor, "... G"]:
    """F = 1 + kappa - kappa / (1 + mu s^2 / kappa), (..., G)."""
    y = PBE_MU * gas.gradient2()
    return 1.0 + y / (1.0 + y / PBE_KAPPA)


def b88(gas: Gas) -> Float[Tensor, "... G"]:
    """(..., G) F = 1 + b x^2 / (1 + 6 beta x asinh x), x^2 in units of one spin's density."""
    x2 = _B88_UNIT * gas.gradient2()
    enhancement: Tensor = 1.0 + _B88_FACTOR * x2 / (1.0 + 6.0 * _B88_BETA * _x_asinh_x(x2))
    return enhancement


def _x_asinh_x(x2: Tensor) -> Tensor:
    """x asinh(x) of x^2 >= 0: a power series near zero, where the root has no derivative."""
    small = x2 < 1e-3
    y = torch.where(small, x2, 0.0)
    series = y * (1.0 - y * (1.0 / 6.0 - y * (3.0 / 40.0 - y * (5.0 / 112.0 - y * 35.0 / 1152.0))))
    safe = torch.where(small, 1.0, x2)
    x = safe.sqrt()
    return torch.where(small, series, x * torch.log(x + (1.0 + safe).sqrt()))


def pbe_correlation(gas: Gas, spins: Spins | None) -> Float[Tensor, " G"]:
    """e_c = ec(rs, zeta) + H(rs, zeta, t), written as one logarithm.

    With E = exp(ec / (gamma phi^3)) - 1 and y = A t^2 the sum of the paper's two terms is
    gamma phi^3 ln(1 + E / (1 + y + y^2)): never positive, and without their cancellation at large
    gradients.
    """
    uniform = pw92_modified(gas, spins)
    t2 = T_FACTOR * gas.root * gas.gradient2()
    if spins is None:
        scale: Tensor | float = PBE_GAMMA
    else:
        phi2 = spins.phi.square()
        scale, t2 = PBE_GAMMA * spins.phi * phi2, t2 / phi2
    excess = torch.expm1(uniform / scale)
    y = (-PBE_BETA / PBE_GAMMA) * t2 * (1.0 + excess) / excess
    return scale * torch.log1p(excess / (1.0 + y + y.square()))


def lyp(gas: Gas, spins: Spins | None) -> Float[Tensor, " G"]:
    """LYP correlation per electron (G,), the Laplacian integrated by parts.

    In terms of the spin fractions a = 1 + zeta, b = 1 - zeta and the gradients in units of
    n^(8/3), so that the density enters through n^(-1/3) alone.
    """
    inverse = 1.0 / gas.root
    damping = 1.0 / (1.0 + _LYP_D * inverse)
    omega = _LYP_B * torch.exp(-_LYP_C * inverse) * damping
    delta = (_LYP_C + _LYP_D * damping) * inverse
    unit = 4.0 * FERMI_FACTOR**2
    energy: Tensor
    if spins is None:
        inner = TAU_FACTOR - (unit / 72.0) * gas.gradient2() * (3.0 + 7.0 * delta)
        energy = -_LYP_A * (damping + omega * inner)
        return energy
    assert spins.s2 is not None
    assert spins.s2_mixed is not None
    fraction, squares, mixed = spins.fraction, spins.s2, spins.s2_mixed
    same_spin = squares.sum(0)
    total = same_spin + 2.0 * mixed
    power = (fraction * spins.root).square().sum(0)  # (1+zeta)^(8/3) + (1-zeta)^(8/3)
    gradients = (
        total * (47.0 - 7.0 * delta) / 18.0
        - same_spin * (45.0 - delta) / 18.0
        - (fraction * squares).sum(0) * (delta - 11.0) / 18.0
    )
    inner = spins.product * (0.5 * TAU_FACTOR * power + (0.25 * unit) * gradients)
    crossed = (fraction.square() * squares.flip(0)).sum(0)
    inner = inner - unit * (4.0 / 3.0 * mixed + 0.25 * crossed)
    energy = -_LYP_A * (damping * spins.product + omega * inner)
    return energy
