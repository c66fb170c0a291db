"""Low-rank fine-tuning that keeps equivariance: W -> W + (alpha / r) A B, merged at the end.

The updated maps mix channels and nothing else, so rotations commute with the update as they do with
W (Hu et al., LoRA, arXiv:2106.09685). A mixture of experts shares one update over its experts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sfm.nn.mixture import MixtureLinear
from sfm.recipe import Lora


class LowRank(nn.Module):
    """weight -> weight + (alpha / r) A B, (..., n_in, n_out) or transposed; zero at the start.

    Args:
        n_in: rows of A.
        n_out: columns of B.
        transposed: whether the weight is stored (n_out, n_in), as in `nn.Linear`.
        settings: rank and alpha.
    """

    def __init__(self, n_in: int, n_out: int, transposed: bool, settings: Lora) -> None:
        super().__init__()
        rank = min(settings.rank, n_in, n_out)
        self.factor = settings.alpha / settings.rank
        self.transposed = transposed
        self.a = nn.Parameter(torch.randn(n_in, rank) / math.sqrt(n_in))
        self.b = nn.Parameter(torch.zeros(rank, n_out))

    @classmethod
    def of(
        cls,
        a: Float[Tensor, "n_in r"],
        b: Float[Tensor, "r n_out"],
        factor: float,
        transposed: bool,
    ) -> LowRank:
        """The update with these factors, (n_in, r) and (r, n_out)."""
        update = cls(a.shape[0], b.shape[1], transposed, Lora(rank=1))
        update.a, update.b, update.factor = nn.Parameter(a), nn.Parameter(b), factor
        return update

    def forward(self, weight: Float[Tensor, "*experts n m"]) -> Float[Tensor, "*experts n m"]:
        update = self.factor * (self.a @ self.b)
        # a mixture's (experts, n_in, n_out) broadcasts
        return weight + (update.T if self.transposed else update)


def add_lora(module: nn.Module, settings: Lora, seed: int) -> int:
    """Put low-rank updates on every linear map inside `module`, whose own weights are frozen.

    Returns:
        The number of maps.
    """
    maps = [m for m in module.modules() if isinstance(m, (MixtureLinear, nn.Linear))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in maps:
            weight = layer.weight
            transposed = isinstance(layer, nn.Linear)
            n_in, n_out = weight.shape[-2:]
            if transposed:
                n_in, n_out = n_out, n_in
            update = LowRank(n_in, n_out, transposed, settings).to(weight)
            parametrize.register_parametrization(layer, "weight", update)
            layer.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr]
    return len(maps)


def low_rank(module: nn.Module) -> dict[str, LowRank]:
    """The updates inside `module`, by the name of the map that they change."""
    updates: dict[str, Any] = {}
    for name, layer in module.named_modules():
        if parametrize.is_parametrized(layer, "weight"):
            updates[name] = layer.parametrizations.weight[0]
    return updates


def merge_lora(module: nn.Module) -> None:
    """Make the updates part of the weights, in place; predictions do not change."""
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            layer.weight.requires_grad_(True)
