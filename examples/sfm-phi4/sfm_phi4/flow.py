"""An equivariant flow: noise -> fields, with its density; trained without data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sfm_phi4.theory import MU, action, momenta


class Flow(nn.Module):
    """dphi/dt = K * phi + sum_f K_f * sin(w_f phi), t from 0 to 1, from unit noise.

    Kernels are equal on sites that the symmetries of the square exchange, and sin is odd: the flow
    commutes with translations, rotations, reflections and phi -> -phi. Its divergence is exact, so
    the density of what it makes is known (Gerdes et al., arXiv:2207.00283). The linear part starts
    as the free theory's exact solution, K = -1/2 log(k^2 + m2), and the rest at zero.

    Args:
        size: L.
        m2: mass squared of the free theory that it starts from, positive.
        frequencies: w_f of the nonlinear terms.
    """

    def __init__(
        self, size: int, m2: float = 1.0, frequencies: tuple[float, ...] = (0.7, 1.5, 3.0)
    ) -> None:
        super().__init__()
        near = torch.minimum(torch.arange(size), size - torch.arange(size))
        low = torch.minimum(near[:, None], near[None])
        keys = torch.maximum(near[:, None], near[None]) * size + low
        self.register_buffer("orbit", torch.unique(keys, return_inverse=True)[1])
        kernel = torch.fft.ifft2(-0.5 * (momenta(size) + m2).log()).real
        linear = torch.zeros(int(self.orbit.max()) + 1, dtype=torch.float64)
        self.linear = nn.Parameter(linear.index_put((self.orbit,), kernel))
        self.waves = nn.Parameter(linear.new_zeros(2, len(frequencies), len(linear)))
        self.register_buffer("frequencies", torch.tensor(frequencies, dtype=torch.float64))

    def velocity(self, phi: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """dphi/dt (B, L, L) and its divergence (B,) at fields (B, L, L)."""
        w = self.frequencies[:, None, None]
        kernels = torch.cat([self.linear[None], self.waves[0] + t * self.waves[1]])
        terms = torch.cat([phi[:, None], torch.sin(w * phi[:, None])], 1)
        spectrum = torch.fft.fft2(kernels[:, self.orbit]) * torch.fft.fft2(terms)
        slopes = torch.cat([torch.ones_like(phi)[:, None], w * torch.cos(w * phi[:, None])], 1)
        at_home = kernels[:, self.orbit[0, 0], None, None]
        return torch.fft.ifft2(spectrum.sum(1)).real, (at_home * slopes).sum((1, *MU))

    def forward(self, noise: Tensor, steps: int = 8) -> tuple[Tensor, Tensor]:
        """Fields of unit noise (B, L, L) and the log of their density (B,), by Runge-Kutta 4."""
        phi = noise
        log_q = -0.5 * (noise.square() + torch.log(torch.tensor(2 * torch.pi))).sum(MU)
        h = 1 / steps
        for n in range(steps):
            v1, d1 = self.velocity(phi, n * h)
            v2, d2 = self.velocity(phi + 0.5 * h * v1, (n + 0.5) * h)
            v3, d3 = self.velocity(phi + 0.5 * h * v2, (n + 0.5) * h)
            v4, d4 = self.velocity(phi + h * v3, (n + 1) * h)
            phi = phi + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
            log_q = log_q - h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        return phi, log_q


def log_weights(flow: Flow, noise: Tensor, m2: float, coupling: float) -> tuple[Tensor, Tensor]:
    """Fields (B, L, L) and log(exp(-S) / q) (B,): minus their mean is what training lowers."""
    phi, log_q = flow(noise)
    return phi, -action(phi, m2, coupling) - log_q


def effective(log_w: Tensor) -> float:
    """Effective sample size as a share: (sum w)^2 / (n sum w^2)."""
    weights = torch.softmax(log_w, 0)
    return float(1 / (len(weights) * weights.square().sum()))
