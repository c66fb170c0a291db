"""A cheap equivariant closure: invariants of filtered velocity gradients -> a tensor basis.

    tau(x) = g^2 [ sum_k c_k S_k + sum_kl c_kl (S_k W_l - W_l S_k) ](x),   c = MLP(invariants(x))

S_k + W_k is the velocity gradient per cell width over its root mean square g, through the
isotropic filter p_k(k^2) (k^2)^(k-1) with trained coefficients p_k: the gradient itself, its small
scales, ... In two dimensions W_l is one pseudo-scalar w_l, so

    S = [[a, b], [b, -a]],   S W - W S = 2 w [[-b, a], [a, b]],

and the invariants are a_k a_l + b_k b_l, w_k w_l, and the spectral slope <S_2:S_2> / <S_1:S_1> of
the whole field, which tells the Reynolds number. This is Pope's general eddy viscosity (J. Fluid
Mech. 72, 331, 1975) in the form of J. Ling, A. Kurzawski and J. Templeton, J. Fluid Mech. 807, 155
(2016), with several scales in place of one. No patches: it commutes with every symmetry of the
grid, and with Galilean boosts.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from sfm.errors import InputError

from ..periodic.grid import Grid, derivative_factors


@lru_cache(maxsize=16)
def _factors(grid: Grid, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """(6, H, W//2+1) complex from (u, v) to (a, b, w), and k^2 over the largest retained one."""
    cells = Grid(grid.height, grid.width, float(grid.height), float(grid.width))
    iky, ikx = (f.expand(grid.height, -1) for f in derivative_factors(cells, dtype, device))
    from_u = torch.stack((0.5 * ikx, 0.5 * iky, 0.5 * iky))
    from_v = torch.stack((-0.5 * iky, 0.5 * ikx, -0.5 * ikx))
    ky, kx = cells.wavenumbers(device=device)
    k2 = ((ky**2 + kx**2) / (2 * math.pi / 3) ** 2).to(dtype)
    return torch.cat((from_u, from_v)), k2


class LocalClosure(nn.Module):
    """velocity (B, 2, H, W), spacing -> tau (B, 2, 2, H, W), without trace.

    Differentiable in the velocity and in the weights. The stress scales with the square of the
    velocity and knows no length: it holds for the filter and the ratio of filter width to spacing
    that it was trained at, and for square cells.

    Args:
        scales: n, filtered gradients; 3 n inverse transforms an evaluation.
        hidden: width of the two hidden layers.
        filter_ratio: width of the Gaussian filter over the spacing that its velocity and stress
            belong to; 0 for a sharp cut-off at the modes that the 2/3 rule retains.
        seed: of the first weights.

    Raises:
        InputError: fewer than one scale or hidden unit.
    """

    options: ClassVar[tuple[str, ...]] = ("scales", "hidden", "filter_ratio")

    def __init__(
        self, *, scales: int = 2, hidden: int = 16, filter_ratio: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if scales < 1 or hidden < 1:
            raise InputError(f"scales={scales} and hidden={hidden} must be at least 1")
        self.scales, self.hidden, self.filter_ratio = scales, hidden, filter_ratio
        pairs = torch.combinations(torch.arange(scales), 2, with_replacement=True)
        self.register_buffer("pairs", pairs, persistent=False)
        outputs = scales + scales * scales
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(2 * len(pairs) + 1, hidden)
            self.second = nn.Linear(hidden, hidden)
            self.last = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.last.bias)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
        self.kernel = nn.Parameter(torch.zeros(scales, 2))

    def forward(self, velocity: Tensor, spacing: float) -> Tensor:
        p, q = self.deviator(velocity)
        return torch.stack((torch.stack((p, q), 1), torch.stack((q, -p), 1)), 1)

    def gradients(self, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """(B, n, 3, H, W): a, b, w at every scale over g; and g (B, 1, 1, 1, 1)."""
        height, width = velocity.shape[-2:]
        grid = Grid(height, width)
        factors, k2 = _factors(grid, velocity.dtype, str(velocity.device))
        hat = torch.fft.rfft2(velocity)
        gradient = factors[:3] * hat[:, :1] + factors[3:] * hat[:, 1:]
        c = self.kernel.to(velocity.dtype)[..., None, None]
        powers = torch.stack([k2**n for n in range(self.scales)])
        filters = powers * (1 + c[:, 0] * k2 + c[:, 1] * k2 * k2)
        fields = torch.fft.irfft2(gradient.unsqueeze(1) * filters.unsqueeze(1), s=(height, width))
        tiny = torch.finfo(velocity.dtype).tiny * 1e6
        square = 2 * fields[:, :1, :2].square().sum(2, keepdim=True).mean((-2, -1), keepdim=True)
        scale = torch.sqrt(square + tiny)
        return fields / scale, scale

    def deviator(self, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """((tau_xx - tau_yy) / 2, tau_xy), each (B, H, W)."""
        fields, scale = self.gradients(velocity)
        strain, w = fields[:, :, :2], fields[:, :, 2]
        i, j = self.pairs.unbind(1)  # type: ignore[operator]
        products = (strain[:, i] * strain[:, j]).sum(2)
        spins = w[:, i] * w[:, j]
        slope = products[:, -1:].mean((-2, -1), keepdim=True).expand_as(products[:, :1])
        x = torch.cat((products, spins, torch.log(slope + 1e-6)), 1).movedim(1, -1)
        x = x * torch.rsqrt(1 + x * x / 9)
        weights = (self.first, self.second, self.last)
        for number, layer in enumerate(weights):
            x = nn.functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))
            x = nn.functional.silu(x) if number < 2 else x
        c = x.movedim(-1, 1)
        n = self.scales
        # S_k with c_k, and its turn by a right angle with sum_l c_kl w_l
        turn = (c[:, n:].unflatten(1, (n, n)) * w.unsqueeze(1)).sum(2)
        a, b = strain[:, :, 0], strain[:, :, 1]
        size = scale[:, 0, 0].square()
        return (
            size[:, 0] * (c[:, :n] * a - turn * b).sum(1),
            size[:, 0] * (c[:, :n] * b + turn * a).sum(1),
        )
