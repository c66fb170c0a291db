"""Exchange-correlation functionals of closed-shell densities, in torch: LDA and PBE.

Every function maps the density ``rho`` (electrons per bohr^3) and ``sigma = |grad rho|^2`` to an
energy per volume (hartree per bohr^3), elementwise, differentiable to any order. Points with
``rho`` below ``DENSITY_FLOOR`` give exactly zero, value and derivatives, as libxc does.

Constants are libxc's (7.0): ``LDA_C_PW`` uses the five digits of the paper, while PBE builds on
``LDA_C_PW_MOD`` (more digits); the two differ by 2e-7 to 3e-6 hartree for small molecules.

References: Perdew, Wang, Phys. Rev. B 45, 13244 (1992); Perdew, Burke, Ernzerhof, Phys. Rev.
Lett. 77, 3865 (1996); Lehtola et al., SoftwareX 7, 1 (2018) for libxc.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sfm.errors import InputError, did_you_mean

DENSITY_FLOOR = 1e-14

PW92_A = 0.031091  # LDA_C_PW
PW92_MOD_A = 0.0310907  # LDA_C_PW_MOD
_PW92_ALPHA = 0.21370
_PW92_BETA = (7.5957, 3.5876, 1.6382, 0.49294)

PBE_KAPPA = 0.804
PBE_MU = 0.2195149727645171
PBE_BETA = 0.06672455060314922
PBE_GAMMA = (1.0 - math.log(2.0)) / math.pi**2

_SLATER = -0.75 * (3.0 / math.pi) ** (1.0 / 3.0)

Functional = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _floor(rho: Tensor) -> tuple[Tensor, Tensor]:
    """A mask of points that count, and a density that is safe to divide by."""
    mask = rho > DENSITY_FLOOR
    return mask, torch.where(mask, rho, torch.ones_like(rho))


def slater_exchange(rho: Tensor) -> Tensor:
    """Exchange of the uniform gas: e_x = -3/4 (3/pi)^(1/3) rho^(4/3)."""
    mask, safe = _floor(rho)
    return torch.where(mask, _SLATER * safe ** (4.0 / 3.0), torch.zeros_like(rho))


def _pw92_per_electron(rho: Tensor, a: float) -> Tensor:
    rs = (3.0 / (4.0 * math.pi * rho)) ** (1.0 / 3.0)
    root = torch.sqrt(rs)
    b1, b2, b3, b4 = _PW92_BETA
    denominator = 2.0 * a * root * (b1 + root * (b2 + root * (b3 + root * b4)))
    return -2.0 * a * (1.0 + _PW92_ALPHA * rs) * torch.log1p(1.0 / denominator)


def pw92_correlation(rho: Tensor, a: float = PW92_A) -> Tensor:
    """Correlation of the unpolarised uniform gas: rho * G(rs), Perdew and Wang's fit."""
    mask, safe = _floor(rho)
    return torch.where(mask, safe * _pw92_per_electron(safe, a), torch.zeros_like(rho))


def pbe_exchange(rho: Tensor, sigma: Tensor) -> Tensor:
    """e_x = e_x^LDA(rho) F(s), F = 1 + kappa - kappa / (1 + mu s^2 / kappa)."""
    mask, safe = _floor(rho)
    kf2 = (3.0 * math.pi**2 * safe) ** (2.0 / 3.0)
    s2 = torch.where(mask, sigma, torch.zeros_like(sigma)) / (4.0 * kf2 * safe**2)
    factor = 1.0 + PBE_MU * s2 / (1.0 + PBE_MU * s2 / PBE_KAPPA)
    return torch.where(mask, _SLATER * safe ** (4.0 / 3.0) * factor, torch.zeros_like(rho))


def pbe_correlation(rho: Tensor, sigma: Tensor) -> Tensor:
    """e_c = rho [ec(rs) + H(rs, t)], t^2 = pi sigma / (16 kF rho^2), for no polarisation."""
    mask, safe = _floor(rho)
    ec = _pw92_per_electron(safe, PW92_MOD_A)
    kf = (3.0 * math.pi**2 * safe) ** (1.0 / 3.0)
    t2 = torch.where(mask, sigma, torch.zeros_like(sigma)) * math.pi / (16.0 * kf * safe**2)
    ratio = PBE_BETA / PBE_GAMMA
    at2 = ratio / torch.expm1(-ec / PBE_GAMMA) * t2
    h = PBE_GAMMA * torch.log1p(ratio * t2 * (1.0 + at2) / (1.0 + at2 + at2 * at2))
    return torch.where(mask, safe * (ec + h), torch.zeros_like(rho))


def lda(rho: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Slater exchange and PW92 correlation (libxc ``LDA_X,LDA_C_PW``); sigma is not used."""
    return slater_exchange(rho), pw92_correlation(rho)


def pbe(rho: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """PBE exchange and correlation (libxc ``GGA_X_PBE,GGA_C_PBE``)."""
    return pbe_exchange(rho, sigma), pbe_correlation(rho, sigma)


FUNCTIONALS: dict[str, Functional] = {"LDA": lda, "PBE": pbe}
NEEDS_GRADIENT = {"LDA": False, "PBE": True}


def functional(name: str) -> Functional:
    """The functional called ``name``: (rho, sigma) -> (exchange, correlation) per volume.

    Raises:
        InputError: no functional has that name.
    """
    if name not in FUNCTIONALS:
        raise InputError(
            f"functional '{name}' is not known.{did_you_mean(name, FUNCTIONALS)} "
            f"Choose one of {', '.join(FUNCTIONALS)}"
        )
    return FUNCTIONALS[name]
