"""Burgers' equation from a few points on a periodic line, by the closed form of Cole and Hopf.

The points are joined by their Fourier series. With U the mean of u and Psi_y = u - U at t = 0,

    u(x, t) = U + sum_y w(y) (x - U t - y) / t,
    w(y) = softmax_y [ -(x - U t - y)^2 / (4 nu t) - Psi(y) / (2 nu) ],

the integral over y by the trapezium rule on `REFINED` points for each, a period and a half to
either side (it converges exponentially for what is smooth). Shifts by whole points and
u(x) -> -u(-x) commute with it; differentiable.

Sources: E. Hopf, Comm. Pure Appl. Math. 3, 201 (1950); J. D. Cole, Q. Appl. Math. 9, 225 (1951).

Any consistent system of units.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

REFINED = 16


def later_states(
    velocity: Float[Tensor, "B N"], *, length: float, viscosity: float, interval: float, steps: int
) -> Float[Tensor, "B steps N"]:
    """u at `interval`, 2 `interval`, ... from u on N points of a periodic line; float64.

    Args:
        velocity: at x = i length / N.
        length: of the line.
        viscosity: nu, positive.
        interval: between states, positive.
        steps: how many states.
    """
    batch, points = velocity.shape
    fine = REFINED * points
    hat = torch.fft.rfft(velocity.double())[:, : (points + 1) // 2]  # without the Nyquist mode
    mean = hat[:, 0].real / points
    time = interval * torch.arange(1, steps + 1, dtype=torch.float64)
    psi = _potential(hat, mean[:, None] * time, length, points)  # (B, T, fine)
    # y lies m spacings from the foot x - U t: Psi, moved back by U t, on the points themselves
    half = 3 * fine // 2
    m = torch.arange(-half, half + 1)
    apart = m.double() * (length / fine)
    index = (torch.arange(0, fine, REFINED)[:, None] + m) % fine  # (N, M)
    gauss = -apart.square() / (4 * viscosity * time[:, None, None])
    states = []
    for member in range(batch):  # bounds the memory: T N M numbers
        weights = torch.softmax(gauss - psi[member][:, index] / (2 * viscosity), -1)
        states.append(mean[member] - (weights @ apart) / time[:, None])
    return torch.stack(states)


def _potential(hat: Tensor, travel: Tensor, length: float, points: int) -> Tensor:
    """(B, T, fine): Psi at y - U t, from the spectrum (B, K) of u and U t (B, T)."""
    k = 2 * math.pi / length * torch.arange(1, hat.shape[1], dtype=torch.float64)
    moved = hat[:, None, 1:] / (1j * k) * torch.exp(-1j * k * travel[..., None])
    padded = torch.nn.functional.pad(moved * REFINED, (1, 0))
    psi: Tensor = torch.fft.irfft(padded, n=REFINED * points)
    return psi
