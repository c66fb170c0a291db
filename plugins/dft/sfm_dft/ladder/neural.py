"""Learned exchange-correlation functionals on a line: a local and a global one.

Both give e_xc(x) = n(x) eps(x), with eps from a small network that sees the same thing at every
point, so neither knows the grid, and mirror images have equal energies. `-silu` at the end lets eps
be negative as it must be (at most 0.28 above zero), softly.

Reference: Li et al., Phys. Rev. Lett. 126, 036401 (2021), supplement; the convolution with learned
widths and the self-interaction gate are theirs, the pointwise network stands for their
convolutions over three neighbours, which depend on the grid.

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_dft.ladder.grid import AMPLITUDE, RANGE, exponential
from sfm_dft.ladder.lda import ExponentialLDA


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

    def forward(self, density: Float[Tensor, "B n"], dx: float) -> Float[Tensor, "B n"]:
        """(B, n) energy per length, hartree per bohr, from the density (B, n)."""
        energy: Tensor = -density * self.network(density[..., None])[..., 0]
        return energy


class GlobalXC(nn.Module):
    """eps depends on the density everywhere, through averages with exponential weights.

        eps(x) = eps_LDA(n(x)) softplus(network(n, averages)) / ln 2      (base `lda`)
        eps(x) = -silu(network(n, averages))                              (base `none`)

    The network sees n and `channels` averages (weights a^|k|, their sum 1) whose widths between
    `narrow` and `wide` are learned. On the LDA the last layer starts at zero, so training starts
    from the LDA, and eps is never positive. With `gate`,

        eps = b eps_SIC + (1 - b) eps_network,  b = exp(-((N - 1) / s)^2),  eps_SIC = -v_H / 2,

    makes every one-electron system exact. With s = 0.4 two electrons see nothing of it (b = 0.002);
    a wide or learned one mixes exact exchange into H2 only, and then fails for four electrons. It
    counts the electrons of the whole system, so it is not size-consistent.

    Args:
        channels, hidden, layers: of the network. seed: of its first weights. narrow, wide: bohr.
        base: `lda` or `none`. gate: the width s, fixed; 0 for no gate.
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
        base: str = "lda",
        gate: float = 0.4,
        seed: int = 0,
        amplitude: float = AMPLITUDE,
        length: float = RANGE,
    ) -> None:
        super().__init__()
        if base not in ("lda", "none"):
            raise InputError(f"base='{base}': there are lda and none")
        generator = torch.Generator().manual_seed(seed)
        self.network = _network(channels + 1, hidden, layers, generator)
        self.lda = ExponentialLDA(amplitude=amplitude, length=length) if base == "lda" else None
        if self.lda is not None:
            *rest, last, _ = self.network  # the last SiLU belongs to the other base
            self.network = nn.Sequential(*rest, last)
            with torch.no_grad():
                for weight in last.parameters():
                    weight.zero_()
        self.eta = nn.Parameter(torch.randn(channels, generator=generator, dtype=torch.float64))
        self.narrow, self.wide = narrow, wide
        self.gate = gate
        self.amplitude, self.length = amplitude, length

    def averages(self, density: Float[Tensor, "B n"], dx: float) -> Float[Tensor, "B n channels"]:
        """(B, n, channels) weighted means of the density, electrons per bohr."""
        n = density.shape[-1]
        widths = self.narrow + (self.wide - self.narrow) * torch.sigmoid(self.eta)
        ratio = torch.exp(-dx / widths)
        offset = torch.arange(n, dtype=density.dtype, device=density.device)
        kernel = (1.0 - ratio) / (1.0 + ratio) * torch.exp(-offset[:, None] * dx / widths)
        return convolve(density, kernel.mT).mT

    def forward(self, density: Float[Tensor, "B n"], dx: float) -> Float[Tensor, "B n"]:
        """(B, n) energy per length, hartree per bohr, from the density (B, n)."""
        features = torch.cat([density[..., None], self.averages(density, dx)], dim=-1)
        learned: Tensor = self.network(features)[..., 0]
        if self.lda is None:
            energy = -density * learned
        else:
            energy = self.lda(density, dx) * nn.functional.softplus(learned) / math.log(2.0)
        if not self.gate:
            return energy
        n = density.shape[-1]
        at = torch.arange(n, dtype=density.dtype, device=density.device) * dx
        kernel = exponential(at, self.amplitude, self.length) * dx
        alone = -0.5 * density * convolve(density, kernel[None])[:, 0]
        electrons = density.sum(-1, keepdim=True) * dx
        b = torch.exp(-(((electrons - 1.0) / self.gate) ** 2))
        gated: Tensor = b * alone + (1.0 - b) * energy
        return gated


def convolve(density: Float[Tensor, "B n"], kernel: Float[Tensor, "c n"]) -> Float[Tensor, "B c n"]:
    """(B, c, n) sum over y of kernel[c, |x - y|] density[b, y], zero outside; kernel is (c, n)."""
    n = density.shape[-1]
    size = 2 * n
    circular = torch.cat([kernel, torch.zeros_like(kernel[:, :1]), kernel[:, 1:].flip(1)], dim=1)
    spectrum = torch.fft.rfft(circular) * torch.fft.rfft(density, size)[:, None]
    folded: Tensor = torch.fft.irfft(spectrum, size)[..., :n]
    return folded
