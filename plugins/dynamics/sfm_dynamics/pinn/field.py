"""`FieldPinn`: a solution u(t, x) of a partial equation as a network, with its derivatives.

    u(t, x) = u_0(x) + (t / T) b(x) N(t, x),   b = 4 (x - left) (right - x) / (right - left)^2

so that the start and the values at both ends hold exactly (I. E. Lagaris, A. Likas, D. I. Fotiadis,
IEEE Trans. Neural Netw. 9, 987 (1998), doi:10.1109/72.712178). Space is cut into subdomains with a
network each, which the loss joins: u and its slope have no jumps there (extended and conservative
physics-informed networks: A. D. Jagtap, G. E. Karniadakis, Commun. Comput. Phys. 28, 2002 (2020),
doi:10.4208/cicp.OA-2020-0164; A. D. Jagtap, E. Kharazmi, G. E. Karniadakis, Comput. Methods Appl.
Mech. Eng. 365, 113028 (2020), doi:10.1016/j.cma.2020.113028).

Times and places in the equation's own units.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_dynamics.minimise import least_squares

INTERFACE = 3.0  # weight of jumps between subdomains
Start = Callable[[Float[Tensor, "*points"]], Float[Tensor, "*points"]]
Rate = Callable[
    [Float[Tensor, "*points"], Float[Tensor, "*points"], Float[Tensor, "*points"]],
    Float[Tensor, "*points"],
]


class Jet(NamedTuple):
    """Something at points (...) with its derivatives by t, x, and x twice."""

    u: Float[Tensor, " ..."]
    t: Float[Tensor, " ..."]
    x: Float[Tensor, " ..."]
    xx: Float[Tensor, " ..."]


class FieldPinn(nn.Module):
    """Times and places -> u and its derivatives, in D subdomains of equal width.

    Args:
        start: u_0, places (...) -> (...), twice differentiable; it holds at t = 0, and its values
            at both ends hold for ever.
        span: time that is covered, from zero. ends: left and right end.
        width, depth: hidden layers of tanh and their number.
        domains: number of subdomains. seed: of the weights.

    Raises:
        InputError: a size that is not positive, or ends in the wrong order.
    """

    def __init__(
        self,
        start: Start,
        span: float,
        ends: tuple[float, float],
        *,
        width: int = 16,
        depth: int = 2,
        domains: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if min(width, depth, domains) < 1 or not span > 0 or not ends[1] > ends[0]:
            raise InputError(
                f"pinn: width={width}, depth={depth}, domains={domains}, span={span}, ends={ends}: "
                "sizes must be positive, ends in order"
            )
        self.start, self.span, self.ends, self.domains = start, span, ends, domains
        generator = torch.Generator().manual_seed(seed)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for a, b in itertools.pairwise((2, *([width] * depth), 1)):
            drawn = torch.randn(domains, a, b, generator=generator, dtype=torch.float64) / a**0.5
            self.weights.append(nn.Parameter(drawn))
            self.biases.append(nn.Parameter(drawn.new_zeros(domains, 1, b)))

    def forward(self, t: Float[Tensor, "D m"], s: Float[Tensor, "D m"]) -> Jet:
        """u and its derivatives (D, m) at times t and places s in [0, 1] of each subdomain."""
        left, right = self.ends
        part = (right - left) / self.domains
        first = left + part * torch.arange(self.domains, dtype=s.dtype, device=s.device)
        x = first[:, None] + part * s
        n = self._network(t, s, part)
        bump = 4 * (x - left) * (right - x) / (right - left) ** 2
        bend = -8 / (right - left) ** 2
        rise = 4 * (left + right - 2 * x) / (right - left) ** 2
        grown = t / self.span
        begun, begun_x, begun_xx = _twice(self.start, x)
        return Jet(
            begun + grown * bump * n.u,
            bump * (n.u / self.span + grown * n.t),
            begun_x + grown * (rise * n.u + bump * n.x),
            begun_xx + grown * (bend * n.u + 2 * rise * n.x + bump * n.xx),
        )

    def _network(self, t: Tensor, s: Tensor, part: float) -> Jet:
        """N and its derivatives (D, m), forwards through the layers."""
        u = torch.stack((2 * t / self.span - 1, 2 * s - 1), -1)
        zero = torch.zeros_like(u)
        by_t, by_x = zero.clone(), zero.clone()
        by_t[..., 0], by_x[..., 1] = 2 / self.span, 2 / part
        jet, last = Jet(u, by_t, by_x, zero), len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            jet = Jet(torch.baddbmm(bias, jet.u, weight), *(d @ weight for d in jet[1:]))
            if i < last:
                h = torch.tanh(jet.u)
                one = 1 - h * h
                bent = one * jet.xx - 2 * h * one * jet.x.square()
                jet = Jet(h, one * jet.t, one * jet.x, bent)
        return Jet(*(d[..., 0] for d in jet))

    def at(self, t: Float[Tensor, " m"], x: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """u (m,) at times (m,) and places (m,) between the ends."""
        left, right = self.ends
        place = (x - left) / (right - left) * self.domains
        part = place.floor().long().clamp(0, self.domains - 1)
        s = torch.stack([(place - d).clamp(0, 1) for d in range(self.domains)])
        jet: Jet = self(t.expand(self.domains, -1), s)
        return jet.u[part, torch.arange(len(x), device=x.device)]


def _twice(function: Start, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A function of each number of x, with its first and second derivative; nothing recorded."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        value = function(at)
        first = _by(value, at)
        second = _by(first, at)
    return value.detach(), first.detach(), second.detach()


def _by(value: Tensor, x: Tensor) -> Tensor:
    """Derivatives of numbers, each by the number of x at its place; zero where there are none."""
    if not value.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(
        value.sum(), x, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return gradient


def train_field(
    network: FieldPinn,
    rate: Rate,
    *,
    points: tuple[int, int] = (12, 16),
    rounds: int = 3,
    iterations: int = 20,
    causality: float = 0.0,
    data: tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]] | None = None,
    weight: float = 10.0,
    parameters: Sequence[Float[Tensor, " ..."]] = (),
) -> float:
    """Minimise du/dt - rate(u, du/dx, d2u/dx2) and the jumps, in place.

    Args:
        network: the solution. rate: the equation's right-hand side, of arrays of one shape.
        points: collocation times, and places in each subdomain.
        rounds: of least squares, with `iterations` each at most.
        causality: epsilon of the weights exp(-epsilon sum of what is left at earlier times); 0 for
            equal weights. It grows by a half with every round.
        data: times, places and values (n,) that were measured, for inverse problems.
        weight: of the data. parameters: of `rate`, found besides the network.

    Returns:
        Root mean square of the residual at the collocation points.
    """
    weights = [*network.parameters(), *parameters]
    times = torch.linspace(0, network.span, points[0] + 1, dtype=torch.float64)[1:]
    places = torch.linspace(0, 1, points[1], dtype=torch.float64)
    grid = torch.cartesian_prod(times, places)
    t, s = (g.expand(network.domains, -1) for g in grid.unbind(-1))

    def mismatch() -> Tensor:
        jet: Jet = network(t, s)
        return jet.t - rate(jet.u, jet.x, jet.xx)

    for number in range(rounds):
        left = mismatch().detach().square().view(network.domains, *points).mean((0, 2))
        before = torch.cat((left.new_zeros(1), left.cumsum(0)[:-1])) * (network.span / points[0])
        causal = torch.exp(-causality * 1.5**number * before).repeat_interleave(points[1])
        share = (causal / t.numel()).sqrt()

        def residuals(share: Tensor = share) -> Tensor:
            rows = [(share * mismatch()).flatten(), *_jumps(network, times)]
            if data is not None:
                off = network.at(data[0], data[1]) - data[2]
                rows.append(weight * off / len(off) ** 0.5)
            return torch.cat(rows)

        least_squares(residuals, weights, iterations)
    return float(mismatch().detach().square().mean().sqrt())


def _jumps(network: FieldPinn, times: Tensor) -> list[Tensor]:
    """Weighted jumps of u and of its slope between subdomains at (T,) times."""
    if network.domains == 1:
        return []
    t = times.repeat(2).expand(network.domains, -1)
    s = torch.cat((torch.zeros_like(times), torch.ones_like(times))).expand(network.domains, -1)
    jet, n = network(t, s), len(times)
    scale = INTERFACE / n**0.5
    return [scale * (d[:-1, n:] - d[1:, :n]).flatten() for d in (jet.u, jet.x)]
