"""Mixture of linear experts: weights that depend on what kind of system a row belongs to.

Every (encoder, level of theory) is a context g with routing weights a_gk over K experts, and uses
the linear map W_g = sum_k a_gk W_k (Wood et al., UMA, arXiv:2506.23971, "mixture of linear
experts"). Rows of one context lie together, so a batch costs one matrix product per context, and a
model collapsed to one context costs exactly a dense model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class Routing:
    """How the rows of a batch are routed.

    Attributes:
        weights: (G, K) expert weights of each run of rows with one context; rows add up to 1.
        nodes: number of tokens of each run.
    """

    weights: Float[Tensor, "G K"]
    nodes: tuple[int, ...]


def apply(
    x: Float[Tensor, "*batch rows n_in"],
    matrices: Float[Tensor, "G n_in n_out"],
    sizes: tuple[int, ...],
) -> Float[Tensor, "*batch rows n_out"]:
    """(..., rows, n_in) -> (..., rows, n_out) by the matrix of each run of `sizes` rows."""
    if len(sizes) == 1:
        return x @ matrices[0]
    parts = zip(x.split(sizes, dim=-2), matrices.unbind(), strict=True)
    return torch.cat([part @ w for part, w in parts], dim=-2)


class Router(nn.Module):
    """Context -> expert weights: softmax of logits of its encoder, its level, and its own.

    A level shares its logits among encoders. A context's own are zero until it starts as another
    (`sfm.model.growing`): its level may be known to another encoder already.
    """

    def __init__(self, n_encoders: int, n_levels: int, n_contexts: int, n_experts: int) -> None:
        super().__init__()
        self.encoder_logits = nn.Parameter(torch.randn(n_encoders, n_experts))
        self.level_logits = nn.Parameter(0.3 * torch.randn(n_levels, n_experts))
        self.context_logits = nn.Parameter(torch.zeros(n_contexts, n_experts))

    def forward(
        self, encoder: Int[Tensor, " G"], level: Int[Tensor, " G"], context: Int[Tensor, " G"]
    ) -> Float[Tensor, "G K"]:
        """(G,) indices -> (G, K) weights."""
        logits = self.encoder_logits[encoder] + self.level_logits[level]
        return torch.softmax(logits + self.context_logits[context], dim=-1)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # weights that were saved before contexts had logits of their own
        state.setdefault(f"{prefix}context_logits", torch.zeros_like(self.context_logits))
        super()._load_from_state_dict(state, prefix, *rest)


class MixtureLinear(nn.Module):
    """A linear map without bias whose matrix is a mixture of `n_experts` matrices."""

    def __init__(self, n_in: int, n_out: int, n_experts: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_experts, n_in, n_out))
        # experts share most of their initial weights, so that mixing does not shrink them
        shared = torch.randn(1, n_in, n_out)
        apart = 0.5 * torch.randn(n_experts, n_in, n_out)
        with torch.no_grad():
            self.weight.copy_((shared + apart) * gain / math.sqrt(1.25 * n_in))

    def matrices(self, routing: Routing) -> Float[Tensor, "G n_in n_out"]:
        """(G, n_in, n_out), one matrix per run."""
        return torch.einsum("gk,kio->gio", routing.weights.to(self.weight.dtype), self.weight)

    def forward(
        self, x: Float[Tensor, "*batch rows n_in"], routing: Routing
    ) -> Float[Tensor, "*batch rows n_out"]:
        """(..., rows, n_in) -> (..., rows, n_out), one row per token."""
        return apply(x, self.matrices(routing), routing.nodes)

    def collapsed(self, weights: Float[Tensor, " K"]) -> MixtureLinear:
        """The dense layer for one context's (K,) weights."""
        dense = MixtureLinear(self.weight.shape[1], self.weight.shape[2], 1)
        with torch.no_grad():
            merged = torch.einsum("k,kio->io", weights.to(self.weight.dtype), self.weight)
            dense.weight = nn.Parameter(merged.unsqueeze(0))
        return dense
