"""Radial functions of the reduced distance r / cutoff, smooth at the cutoff."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def envelope(x: Float[Tensor, "*shape"], p: int = 6) -> Float[Tensor, "*shape"]:
    """Polynomial that is 1 at x = 0 and 0 at x >= 1 with two vanishing derivatives; dimensionless.

    u(x) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2)
    (Gasteiger et al., DimeNet, arXiv:2003.03123, eq. 8).
    """
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    xp = x**p
    return torch.where(x < 1, 1 - xp * (a - b * x + c * x * x), torch.zeros_like(x))


def bessel(x: Float[Tensor, " E"], n: int) -> Float[Tensor, "E {n}"]:
    """(E,) -> (E, n): sqrt(2) sin(k pi x) / x times the envelope, k = 1..n.

    Orthonormal on the unit ball (DimeNet, eq. 7), in reduced distance, dimensionless.
    """
    k = torch.arange(1, n + 1, dtype=x.dtype, device=x.device)
    x = x.unsqueeze(-1)
    return math.sqrt(2) * torch.sin(math.pi * k * x) / x * envelope(x)
