"""`Pinn`: a solution x(t) as a network, with its derivative.

    x(t) = x_0 + scale s(t) N(t),   s(0) = 0,  s = 1 in later windows

so that the start holds exactly (I. E. Lagaris, A. Likas, D. I. Fotiadis, IEEE Trans. Neural Netw.
9, 987 (1998), doi:10.1109/72.712178). Time is cut into windows, each with a network of its own,
which interface terms of the loss join (XPINN: A. D. Jagtap, G. E. Karniadakis, Commun. Comput.
Phys. 28, 2002 (2020), doi:10.4208/cicp.OA-2020-0164). Random Fourier features of time let a network
learn high frequencies (M. Tancik et al., NeurIPS (2020), arXiv:2006.10739).
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError


class Pinn(nn.Module):
    """Times -> states and their time derivatives, in W windows of equal length.

    Args:
        start: x_0 (d,), which holds exactly.
        span: time that the windows cover, from zero.
        scale: (d,) typical size of each variable's changes.
        width, depth: hidden layers of tanh and their number.
        features: standard deviation of the random frequencies, in periods per window; 0 gives the
            plain network of t.
        windows: number of subdomains.
        seed: of the weights and frequencies.

    Raises:
        InputError: a size that is not positive.
    """

    frequencies: Tensor
    x0: Tensor
    scale: Tensor

    def __init__(
        self,
        start: Tensor,
        span: float,
        *,
        scale: Tensor | None = None,
        width: int = 32,
        depth: int = 2,
        features: float = 0.0,
        windows: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(width, depth, windows) < 1 or not span > 0 or features < 0:
            raise InputError(
                f"pinn: width={width}, depth={depth}, windows={windows}, span={span}, "
                f"features={features}: the first four must be positive, features not negative"
            )
        self.span, self.windows = span, windows
        self.register_buffer("x0", start.detach().clone())
        self.register_buffer("scale", torch.ones_like(start) if scale is None else scale.clone())
        generator = torch.Generator().manual_seed(seed)
        count = width // 2 if features > 0 else 0
        drawn = torch.randn(count, generator=generator, dtype=torch.float64)
        self.register_buffer("frequencies", (math.pi * features * drawn).to(start))
        sizes = (1 + 2 * count, *([width] * depth), len(start))
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for a, b in itertools.pairwise(sizes):
            drawn = torch.randn(windows, a, b, generator=generator, dtype=torch.float64) / a**0.5
            self.weights.append(nn.Parameter(drawn.to(start)))
            self.biases.append(nn.Parameter(start.new_zeros(windows, 1, b)))

    @property
    def length(self) -> float:
        """Of a window."""
        return self.span / self.windows

    def forward(
        self, tau: Float[Tensor, "W m"]
    ) -> tuple[Float[Tensor, "W m d"], Float[Tensor, "W m d"]]:
        """x and dx/dt (W, m, d) at places tau (W, m) in [0, 1] of each window."""
        at = 2 * tau.unsqueeze(-1) - 1
        slope = torch.full_like(at, 2 / self.length)  # of `at` by t
        if len(self.frequencies):
            phase = at * self.frequencies
            turn = slope * self.frequencies
            h = torch.cat((at, phase.sin(), phase.cos()), -1)
            dh = torch.cat((slope, phase.cos() * turn, -phase.sin() * turn), -1)
        else:
            h, dh = at, slope
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h, dh = torch.baddbmm(bias, h, weight), dh @ weight
            if i < last:
                h = torch.tanh(h)
                dh = (1 - h * h) * dh
        first = torch.zeros_like(at)
        first[0] = 1.0
        grown = first * tau.unsqueeze(-1) + (1 - first)
        x = self.x0 + self.scale * grown * h
        return x, self.scale * (first / self.length * h + grown * dh)

    def at(self, times: Float[Tensor, " T"]) -> Float[Tensor, "T d"]:
        """x (T, d) at times (T,) of the span."""
        windows = []
        for w in range(self.windows):
            tau = (times / self.length - w).clamp(0, 1)
            windows.append(self(tau.expand(self.windows, -1))[0][w])
        place = (times / self.length).floor().long().clamp(0, self.windows - 1)
        return torch.stack(windows)[place, torch.arange(len(times), device=times.device)]
