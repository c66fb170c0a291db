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

Any consistent system of units.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.spectral.grid_2d import Grid, derivative_factors


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is kept must serve training too
def _factors(grid: Grid, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """(6, H, W//2+1) complex from (u, v) to (a, b, w), and k^2 over the largest retained one."""
    cells = Grid(grid.height, grid.width, float(grid.height), float(grid.width))
    iky, ikx = torch.broadcast_tensors(*derivative_factors(cells, dtype, device))
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
        hidden: width of the two hidden layers; 0 for the algebraic form, which is several times
            cheaper: c_k linear in the |S_l| and |w_l|, c_kl constant, all linear in the slope.
        filter_ratio: width of the Gaussian filter over the spacing that its velocity and stress
            belong to; 0 for a sharp cut-off at the modes that the 2/3 rule retains.
        seed: of the first weights.

    Raises:
        InputError: fewer than one scale.
    """

    options: ClassVar[tuple[str, ...]] = ("scales", "hidden", "filter_ratio")
    pairs: Tensor

    def __init__(
        self, *, scales: int = 2, hidden: int = 16, filter_ratio: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if scales < 1 or hidden < 0:
            raise InputError(f"scales={scales} must be at least 1 and hidden={hidden} at least 0")
        self.scales, self.hidden, self.filter_ratio = scales, hidden, filter_ratio
        pairs = torch.combinations(torch.arange(scales), 2, with_replacement=True)
        self.register_buffer("pairs", pairs, persistent=False)
        self.kernel = nn.Parameter(torch.zeros(scales, 2))
        if not hidden:
            self.table = nn.Parameter(torch.zeros(2, scales, 3 * scales))
            return
        outputs = scales + scales * scales
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first = nn.Linear(2 * len(pairs) + 1, hidden)
            self.second = nn.Linear(hidden, hidden)
            self.last = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.last.bias)
        with torch.no_grad():
            self.last.weight.mul_(0.1)

    def forward(
        self, velocity: Float[Tensor, "B 2 H W"], spacing: float
    ) -> Float[Tensor, "B 2 2 H W"]:
        p, q = self.deviator(velocity)
        return torch.stack((torch.stack((p, q), 1), torch.stack((q, -p), 1)), 1)

    def gradients(
        self, velocity: Float[Tensor, "B 2 H W"]
    ) -> tuple[Float[Tensor, "B n 3 H W"], Float[Tensor, "B 1 1 1 1"]]:
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

    def deviator(
        self, velocity: Float[Tensor, "B 2 H W"]
    ) -> tuple[Float[Tensor, "B H W"], Float[Tensor, "B H W"]]:
        """((tau_xx - tau_yy) / 2, tau_xy), each (B, H, W)."""
        fields, scale = self.gradients(velocity)
        strain, w = fields[:, :, :2], fields[:, :, 2]
        last = strain[:, -1].square().sum(1).mean((-2, -1), keepdim=True)
        slope = torch.log(last + 1e-6).unsqueeze(1)  # (B, 1, 1, 1)
        if self.hidden:
            straight, spin = self._perceptron(strain, w, slope)
        else:
            straight, spin = self._algebra(strain, w, slope)
        # S_k with its coefficient, and its turn by a right angle with sum_l c_kl w_l
        a, b = strain[:, :, 0], strain[:, :, 1]
        size = scale[:, 0, 0].square()
        return (
            size * (straight * a - spin * b).sum(1),
            size * (straight * b + spin * a).sum(1),
        )

    def _algebra(self, strain: Tensor, w: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (B, n, H, W) of S_k and of its turn: linear in |S_l|, |w_l| and in w_l."""
        n, tiny = self.scales, 1e-12
        sizes = torch.cat((strain.square().sum(2), w.square()), 1).add(tiny).sqrt()
        table = self.table.to(w.dtype)
        table = table[0] + table[1] * slope.squeeze(-1)  # (B, n, 3 n)
        straight = table[:, :, : 2 * n] @ sizes.flatten(2)
        spin = table[:, :, 2 * n :] @ w.flatten(2)
        return straight.view_as(w), spin.view_as(w)

    def _perceptron(self, strain: Tensor, w: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients (B, n, H, W) of S_k and of its turn, from all invariants."""
        n = self.scales
        i, j = self.pairs.unbind(1)
        products = (strain[:, i] * strain[:, j]).sum(2)
        spins = w[:, i] * w[:, j]
        x = torch.cat((products, spins, slope.expand_as(w[:, :1])), 1).flatten(2)
        x = x * torch.rsqrt(1 + x * x / 9)
        for number, layer in enumerate((self.first, self.second, self.last)):
            x = layer.weight.to(x.dtype) @ x + layer.bias.to(x.dtype)[:, None]
            x = nn.functional.silu(x) if number < 2 else x
        c = x.unflatten(2, w.shape[-2:])
        return c[:, :n], (c[:, n:].unflatten(1, (n, n)) * w.unsqueeze(1)).sum(2)
