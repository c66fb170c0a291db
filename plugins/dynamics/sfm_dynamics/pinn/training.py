"""Training a `Pinn` on the residual of dx/dt = f(x), on interfaces and on data.

Causal weights: a residual counts as exp(-epsilon sum of those before it), so that early times are
solved before late ones (S. Wang, S. Sankaran, P. Perdikaris, Comput. Methods Appl. Mech. Eng. 421,
116813 (2024), arXiv:2203.07404). Weights are renewed between rounds of least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dynamics.minimise import least_squares
from sfm_dynamics.pinn.network import Pinn

INTERFACE = 10.0  # weight of jumps between windows


def train(
    network: Pinn,
    field: Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]],
    *,
    points: int = 100,
    rounds: int = 5,
    iterations: int = 20,
    causality: float = 1.0,
    data: tuple[Float[Tensor, " T"], Float[Tensor, "T d"]] | None = None,
    weight: float = 10.0,
    parameters: Sequence[Float[Tensor, " ..."]] = (),
) -> float:
    """Minimise the residual, in place.

    Args:
        network: the solution.
        field: right-hand side f (..., d) -> (..., d).
        points: collocation points in each window, equally spaced.
        rounds: of least squares, with `iterations` each at most.
        causality: epsilon; 0 for equal weights. It grows by a half with every round.
        data: times (T,) and states (T, d) measured there, for inverse problems.
        weight: of the data.
        parameters: what is found besides the network: those of `field` that are unknown.

    Returns:
        Root mean square of (dx/dt - f) / scale at the collocation points.
    """
    weights = [*network.parameters(), *parameters]
    for number in range(rounds):
        square = mismatches(network, field, points)[0].detach().square().mean(-1)
        causal = _causal(square, network.length / points, causality * 1.5**number)
        share = (causal / causal.numel()).sqrt().unsqueeze(-1)

        def residuals(share: Tensor = share) -> Tensor:
            residual, jumps = mismatches(network, field, points)
            rows = [(share * residual).flatten(), INTERFACE * jumps.flatten()]
            if data is not None:
                off = (network.at(data[0]) - data[1]) / network.scale
                rows.append(weight * off.flatten() / len(off) ** 0.5)
            return torch.cat(rows)

        least_squares(residuals, weights, iterations)
    return float(mismatches(network, field, points)[0].detach().square().mean().sqrt())


def mismatches(
    network: Pinn,
    field: Callable[[Float[Tensor, "*states d"]], Float[Tensor, "*states d"]],
    points: int,
) -> tuple[Float[Tensor, "W {points} d"], Float[Tensor, "W-1 d"]]:
    """(dx/dt - f) / scale (W, points, d) at equal times, and the jumps (W - 1, d) of windows."""
    tau = torch.linspace(0, 1, points, dtype=network.x0.dtype, device=network.x0.device)
    x, dx = network(tau.expand(network.windows, -1))
    return (dx - field(x)) / network.scale, (x[:-1, -1] - x[1:, 0]) / network.scale


def _causal(residual: Tensor, step: float, epsilon: float) -> Tensor:
    """(W, m) weights exp(-epsilon int_0^t residual dt)."""
    flat = residual.flatten()
    before = torch.cat((flat.new_zeros(1), flat.cumsum(0)[:-1])) * step
    return torch.exp(-epsilon * before).reshape(residual.shape)
