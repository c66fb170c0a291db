"""Parabolic equations in many dimensions whose value at the start is known.

With d dimensions and T = 1; z_i = sigma_i du/dx_i. Values without unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.integrate import quad
from scipy.stats import chi2, norm
from torch import Tensor

HORIZON = 1.0


@dataclass(frozen=True)
class Parabolic:
    """An equation, its start and its exact value.

    Attributes:
        start: every component of x_0.
        drift: b(x) (n, d). volatility: sigma(x) (n, d).
        driver: f(t, x, y, z) (n,).
        terminal: g(x) (n,).
        exact: d -> u(0, x_0).
        citation: where it is from.
    """

    start: float
    drift: Callable[[Tensor], Tensor]
    volatility: Callable[[Tensor], Tensor]
    driver: Callable[[float, Tensor, Tensor, Tensor], Tensor]
    terminal: Callable[[Tensor], Tensor]
    exact: Callable[[int], float]
    citation: str


def _still(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


# --------------------------------------------------------------- Hamilton, Jacobi and Bellman


def _control(d: int) -> float:
    """-ln E exp(-g(sqrt(2) W)) = -ln E [2 / (1 + 2 chi^2_d)], by Cole and Hopf's substitution."""
    mean = quad(lambda r: 2 / (1 + 2 * r) * chi2.pdf(r, d), 0, d + 40 * math.sqrt(2 * d))[0]
    return -math.log(mean)


_HJB = Parabolic(
    start=0.0,
    drift=_still,
    volatility=lambda x: torch.full_like(x, math.sqrt(2)),
    driver=lambda t, x, y, z: -0.5 * z.square().sum(-1),
    terminal=lambda x: torch.log((1 + x.square().sum(-1)) / 2),
    exact=_control,
    citation="E, Han, Jentzen (2017), section 4.3: 4.5901 at d = 100",
)

# --------------------------------------------------------------- a call on a geometric mean

RATE, SIGMA, STRIKE = 0.05, 0.4, 0.97


def _call(d: int) -> float:
    """Black and Scholes' price: the mean of d independent shares is lognormal."""
    spread = SIGMA / math.sqrt(d)
    forward = math.exp(RATE - 0.5 * SIGMA**2 + 0.5 * spread**2)
    d1 = math.log(forward / STRIKE) / spread + 0.5 * spread
    discounted = forward * norm.cdf(d1) - STRIKE * norm.cdf(d1 - spread)
    return float(math.exp(-RATE) * discounted)


_BASKET = Parabolic(  # x are logarithms of prices, whose steps have no error
    start=0.0,
    drift=lambda x: torch.full_like(x, RATE - 0.5 * SIGMA**2),
    volatility=lambda x: torch.full_like(x, SIGMA),
    driver=lambda t, x, y, z: -RATE * y,
    terminal=lambda x: (x.mean(-1).exp() - STRIKE).clamp_min(0),
    exact=_call,
    citation="Black, Scholes (1973); geometric mean: Kemna, Vorst (1990)",
)

# --------------------------------------------------------------- a front of Burgers' kind


def _front(t: float, x: Tensor) -> Tensor:
    return torch.sigmoid(t + x.mean(-1))


_BURGERS = Parabolic(
    start=0.0,
    drift=_still,
    volatility=lambda x: torch.full_like(x, math.sqrt(x.shape[-1])),
    driver=lambda t, x, y, z: (y - 1.5) * z.sum(-1) / math.sqrt(x.shape[-1]),
    terminal=lambda x: _front(HORIZON, x),
    exact=lambda d: 0.5,
    citation="Chassagneux (2014), SIAM J. Numer. Anal. 52, 2815; here with sigma^2 = d",
)

# --------------------------------------------------------------- an oscillation

KAPPA = 0.6


def _oscillation(t: float, x: Tensor) -> Tensor:
    d = x.shape[-1]  # with lambda = 1 / sqrt(d)
    return 1 + KAPPA + torch.sin(x.sum(-1) / math.sqrt(d)) * math.exp(0.5 * (t - HORIZON))


_REACTION = Parabolic(
    start=0.0,
    drift=_still,
    volatility=torch.ones_like,
    driver=lambda t, x, y, z: (y - _oscillation(t, x)).square().clamp_max(1.0),
    terminal=lambda x: _oscillation(HORIZON, x),
    exact=lambda d: 1 + KAPPA,
    citation="Gobet, Turkedjiev (2017), Stoch. Process. Appl. 127, 1171; 1.6",
)

PROBLEMS = {
    "hamilton-jacobi-bellman": _HJB,
    "geometric-basket": _BASKET,
    "burgers": _BURGERS,
    "reaction-diffusion": _REACTION,
}
