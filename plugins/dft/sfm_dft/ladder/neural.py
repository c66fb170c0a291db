"""Learned exchange-correlation functionals on a line: a local and a global one.

Both give e_xc(x) = n(x) eps(x), with eps from a small network that sees the same thing at every
point, so neither knows the grid, and mirror images have equal energies. `-silu` at the end lets eps
be negative as it must be (at most 0.28 above zero), softly.

Reference: Li et al., Phys. Rev. Lett. 126, 036401 (2021), supplement; the convolution with learned
widths and the self-interaction gate are theirs, the pointwise network stands for their
convolutions over three neighbours, which depend on the grid.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from sfm_dft.ladder.grid import AMPLITUDE, RANGE, exponential


def _network(inputs: int, hidden: int, layers: int, generator: torch.Generator) -> nn.Sequential:
    sizes = [inputs, *[hidden] * layers, 1]
    parts: list[nn.Module] = []
    for a, b in pairwise(sizes):
        linear = nn.Linear(a, b, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.normal_(0.0, math.sqrt(2.0 / a), generator=generator)
            linear.bias.zero_()
        parts += [linear, nn.SiLU()]
    return nn.Sequential(*parts)  # the last SiLU is the negative of the transform


class LocalXC(nn.Module):
    """eps depends on the density at the same point only: a learned LDA.

    Args:
        hidden, layers: of the network. seed: of its first weights.
    """

    interaction = "exponential"

    def __init__(self, *, hidden: int = 16, layers: int = 3, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.network = _network(1, hidden, layers, generator)

    def forward(self, density: Tensor, dx: float) -> Tensor:
        """(B, n) energy per length, hartree per bohr, from the density (B, n)."""
        return -density * self.network(density[..., None])[..., 0]


class GlobalXC(nn.Module):
    """eps depends on the density everywhere, through averages with exponential weights.

    The network sees n and `channels` averages (a^|k| weights, their sum 1) whose widths between
    `narrow` and `wide` are learned. A gate,

        eps = b eps_SIC + (1 - b) eps_network,  b = exp(-((N - 1) / s)^2),  eps_SIC = -v_H / 2,

    makes every one-electron system exact; its width s (first 1) is learned. `gate=False` leaves it
    out. It counts electrons in the whole system, so it is not size-consistent.

    Args:
        channels, hidden, layers: of the network. seed: of its first weights. narrow, wide: bohr.
        amplitude, length: of the interaction, for v_H.
    """

    interaction = "exponential"

    def __init__(
        self,
        *,
        channels: int = 15,
        hidden: int = 16,
        layers: int = 2,
        narrow: float = 0.1,
        wide: float = RANGE,
        gate: bool = True,
        seed: int = 0,
        amplitude: float = AMPLITUDE,
        length: float = RANGE,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.network = _network(channels + 1, hidden, layers, generator)
        self.eta = nn.Parameter(torch.randn(channels, generator=generator, dtype=torch.float64))
        self.narrow, self.wide = narrow, wide
        self.gate = nn.Parameter(torch.ones((), dtype=torch.float64)) if gate else None
        self.amplitude, self.length = amplitude, length

    def averages(self, density: Tensor, dx: float) -> Tensor:
        """(B, n, channels) weighted means of the density, electrons per bohr."""
        n = density.shape[-1]
        widths = self.narrow + (self.wide - self.narrow) * torch.sigmoid(self.eta)
        ratio = torch.exp(-dx / widths)
        offset = torch.arange(n, dtype=density.dtype, device=density.device)
        kernel = (1.0 - ratio) / (1.0 + ratio) * torch.exp(-offset[:, None] * dx / widths)
        return convolve(density, kernel.mT).mT

    def forward(self, density: Tensor, dx: float) -> Tensor:
        """(B, n) energy per length, hartree per bohr, from the density (B, n)."""
        features = torch.cat([density[..., None], self.averages(density, dx)], dim=-1)
        eps = -self.network(features)[..., 0]
        if self.gate is not None:
            n = density.shape[-1]
            at = torch.arange(n, dtype=density.dtype, device=density.device) * dx
            kernel = exponential(at, self.amplitude, self.length) * dx
            mean_field = -0.5 * convolve(density, kernel[None])[:, 0]
            electrons = density.sum(-1, keepdim=True) * dx
            b = torch.exp(-(((electrons - 1.0) / self.gate) ** 2))
            eps = b * mean_field + (1.0 - b) * eps
        return density * eps


def convolve(density: Tensor, kernel: Tensor) -> Tensor:
    """(B, c, n) sum over y of kernel[c, |x - y|] density[b, y], zero outside; kernel is (c, n)."""
    n = density.shape[-1]
    size = 2 * n
    circular = torch.cat([kernel, torch.zeros_like(kernel[:, :1]), kernel[:, 1:].flip(1)], dim=1)
    spectrum = torch.fft.rfft(circular) * torch.fft.rfft(density, size)[:, None]
    return torch.fft.irfft(spectrum, size)[..., :n]
