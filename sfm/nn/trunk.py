"""The trunk: the one E(3)-equivariant network that all domains share.

Tokens carry C channels of scalars (0e), vectors (1o) and rank-2 tensors (2e), stored channels-last
as one (N, 9, C) tensor. A layer gathers, on every token i, a density of its neighbours j,

    A_i,lm = sum_j [ R_l(r_ij) s_j Y_lm(r_ij) + P_l(r_ij) h_j,lm ],

with R and P linear in smooth Bessel functions of the reduced distance, multiplies densities on the
token (1 x 2 -> 1, 1 x 1 -> 2, 2 x 2 -> 2, norms -> 0: many-body features at the cost of N, not of
E), and updates scalars with a perceptron that also gates vectors and tensors. The construction
follows the atomic cluster expansion (Drautz 2019; Batatia et al., MACE, arXiv:2206.07697) with the
gating of PaiNN (Schuett et al., arXiv:2102.03150) and Cartesian products as in TensorNet (Simeon
and De Fabritiis, arXiv:2306.06482). All linear maps are mixtures of experts (`sfm.nn.mixture`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.nn.elements import TypeEmbedding
from sfm.nn.harmonics import products, spherical_harmonics
from sfm.nn.mixture import MixtureLinear, Router, Routing
from sfm.nn.radial import bessel

INVARIANTS = "invariants"
SMALLEST = 1e-2


def smooth_norm(components: Tensor) -> Tensor:
    """(N, k, C) -> (N, C) length over the components, with a derivative at zero too."""
    return (components.square().sum(1) + SMALLEST**2).sqrt() - SMALLEST


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """Size of the trunk.

    Attributes:
        channels: C, width of each irrep.
        layers: number of message-passing layers.
        experts: K, linear maps that are mixed per context.
        radial: number of Bessel functions.
        carried: channels of vectors and tensors that travel along edges.
    """

    channels: int = 64
    layers: int = 2
    experts: int = 4
    radial: int = 8
    carried: int = 16


SIZES: dict[str, TrunkConfig] = {
    "tiny": TrunkConfig(),
    "small": TrunkConfig(channels=128, layers=4, experts=4, radial=10, carried=32),
}


@dataclass(frozen=True)
class Geometry:
    """What all layers share of a batch: edges, harmonics, radial functions."""

    sender: Tensor
    receiver: Tensor
    harmonics: Tensor
    radial: Tensor
    n_tokens: int
    density: Tensor


class Layer(nn.Module):
    """One message-passing layer. See the module's docstring."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        c, d, k = config.channels, config.carried, config.experts
        self.channels, self.carried = c, d
        self.norm = nn.LayerNorm(c)
        self.send_scalars = MixtureLinear(c, c, k)
        self.send_vectors = MixtureLinear(c, d, k)
        self.send_tensors = MixtureLinear(c, d, k)
        self.filters = MixtureLinear(config.radial, 3 * c + 4 * d, k)
        self.mix_scalars = MixtureLinear(c + 2 * d, c, k)
        self.mix_vectors = MixtureLinear(c + d, c, k)
        self.mix_tensors = MixtureLinear(c + d, c, k)
        self.invariant_norm = nn.LayerNorm(4 * c)
        self.inner = MixtureLinear(4 * c, c, k)
        self.outer = MixtureLinear(c, 6 * c, k)
        self.bias = nn.Parameter(torch.zeros(c))
        self.out_vectors = MixtureLinear(c, c, k, gain=0.5)
        self.out_tensors = MixtureLinear(c, c, k, gain=0.5)

    def density(self, h: Tensor, geometry: Geometry, routing: Routing) -> tuple[Tensor, ...]:
        """Neighbour densities: (N, C + 2D), (N, 3, C + D), (N, 5, C + D)."""
        c, d, nodes = self.channels, self.carried, routing.nodes
        sender, receiver, y = geometry.sender, geometry.receiver, geometry.harmonics
        scalars = self.send_scalars(self.norm(h[:, 0]), routing, nodes)
        vectors = self.send_vectors(h[:, 1:4], routing, nodes)
        tensors = self.send_tensors(h[:, 4:9], routing, nodes)
        filters = self.filters(geometry.radial, routing, routing.edges)
        r0, r1, r2, p = filters.split([c, c, c, 4 * d], dim=1)
        p1, p2, q1, q2 = p.unsqueeze(1).split(d, dim=2)
        s = scalars.index_select(0, sender)
        v = vectors.index_select(0, sender)
        t = tensors.index_select(0, sender)
        y1, y2 = y[:, 1:4, None], y[:, 4:9, None]
        # invariant products of carried features with the edge's direction
        along_v = (v * y1).sum(1, keepdim=True) * q1
        along_t = (t * y2).sum(1, keepdim=True) * q2
        parts = (
            torch.cat([(r0 * s).unsqueeze(1), along_v, along_t], dim=2),
            torch.cat([y1 * (r1 * s).unsqueeze(1), v * p1], dim=2),
            torch.cat([y2 * (r2 * s).unsqueeze(1), t * p2], dim=2),
        )
        return tuple(
            part.new_zeros(geometry.n_tokens, *part.shape[1:]).index_add(0, receiver, part)
            * geometry.density.to(part.dtype)
            for part in parts
        )

    def forward(self, h: Tensor, geometry: Geometry, routing: Routing) -> Tensor:
        """(N, 9, C) -> (N, 9, C)."""
        c, nodes = self.channels, routing.nodes
        a0, a1, a2 = self.density(h, geometry, routing)
        a0 = self.mix_scalars(a0, routing, nodes).squeeze(1)
        a1 = self.mix_vectors(a1, routing, nodes)
        a2 = self.mix_tensors(a2, routing, nodes)
        a21, a11, a22 = products(a1, a2)
        invariants = torch.cat(
            [h[:, 0], a0, (a1 * a1).sum(1), (a2 * a2).sum(1)],
            dim=1,
        )
        x = self.inner(self.invariant_norm(invariants), routing, nodes)
        x = self.outer(nn.functional.silu(x + self.bias), routing, nodes)
        update, *gates = x.split(c, dim=1)
        g1, g21, g2, g11, g22 = (g.unsqueeze(1) for g in gates)
        vectors = self.out_vectors(g1 * a1 + g21 * a21, routing, nodes)
        tensors = self.out_tensors(g2 * a2 + g11 * a11 + g22 * a22, routing, nodes)
        return h + torch.cat([update.unsqueeze(1), vectors, tensors], dim=1)


class Trunk(nn.Module):
    """Tokens with C channels in, tokens with C channels out; one pass for any mix of domains.

    Args:
        config: size.
        contexts: (encoder index, level index) of each context.
    """

    contexts: Tensor
    neighbours: Tensor

    def __init__(self, config: TrunkConfig, contexts: list[tuple[int, int]]) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("contexts", torch.tensor(contexts, dtype=torch.long).reshape(-1, 2))
        encoders = max((e for e, _ in contexts), default=0) + 1
        levels = max((level for _, level in contexts), default=0) + 1
        self.types = TypeEmbedding(config.channels)
        self.context_scalars = nn.Embedding(len(contexts), config.channels)
        nn.init.normal_(self.context_scalars.weight, std=0.1)
        self.router = Router(encoders, levels, config.experts)
        # mean number of neighbours per context, measured on the training data
        self.register_buffer("neighbours", torch.full((len(contexts),), 16.0))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def routing(self, tokens: Tokens) -> Routing:
        """Expert weights of each run of rows with the same context."""
        runs, sizes = torch.unique_consecutive(tokens.context, return_counts=True)
        # systems -> runs -> numbers of tokens and edges
        run_of_system = torch.repeat_interleave(torch.arange(len(runs), device=runs.device), sizes)
        run_of_token = run_of_system[tokens.system]
        nodes = torch.bincount(run_of_token, minlength=len(runs))
        edges = torch.bincount(run_of_token[tokens.edges[1]], minlength=len(runs))
        if self.config.experts == 1:
            weights = self.router.encoder_logits.new_ones(len(runs), 1)
        else:
            encoder, level = self.contexts[runs].unbind(1)
            weights = self.router(encoder, level)
        return Routing(weights, tuple(nodes.tolist()), tuple(edges.tolist()))

    def geometry(self, tokens: Tokens) -> Geometry:
        """Edges in reduced lengths; differentiable in positions and cell."""
        sender, receiver = tokens.edges
        vectors = tokens.edge_vectors()
        length = torch.linalg.vector_norm(vectors, dim=-1)
        reduced = length / tokens.cutoff[tokens.system[receiver]]
        density = self.neighbours[tokens.context].rsqrt()[tokens.system]
        return Geometry(
            sender=sender,
            receiver=receiver,
            harmonics=spherical_harmonics(vectors / length.unsqueeze(-1)),
            radial=bessel(reduced, self.config.radial),
            n_tokens=tokens.n_tokens,
            density=density.reshape(-1, 1, 1),
        )

    def states(self, tokens: Tokens) -> Iterator[Tensor]:
        """(N, 9, C) after the embedding and after each layer: scalars, vectors, tensors."""
        routing, geometry = self.routing(tokens), self.geometry(tokens)
        own = self.types(tokens.types) + self.context_scalars(tokens.context)[tokens.system]
        scalars = (tokens.scalars + own).unsqueeze(1)
        h = torch.cat([scalars, tokens.vectors, tokens.tensors], dim=1)
        yield h
        for layer in self.layers:
            h = layer(h, geometry, routing)
            yield h

    def forward(self, tokens: Tokens, *, invariants: bool = False) -> Tokens:
        """The updated tokens; with `invariants`, those of all layers as the extra of this name.

        They are (N, 3 C (layers + 1)): scalars, norms of vectors and norms of tensors, layer after
        layer; what closed-form heads rest on.
        """
        collected = []
        for h in self.states(tokens):
            if invariants:
                collected += [h[:, 0], smooth_norm(h[:, 1:4]), smooth_norm(h[:, 4:9])]
        extras = {INVARIANTS: torch.cat(collected, dim=1)} if invariants else tokens.extras
        return tokens.replace(scalars=h[:, 0], vectors=h[:, 1:4], tensors=h[:, 4:9], extras=extras)

    @torch.no_grad()
    def collapsed(self, context: int) -> Trunk:
        """A dense trunk (one expert) that equals this one for systems of `context` only."""
        encoder, level = self.contexts[context : context + 1].unbind(1)
        weights = self.router(encoder, level)[0]
        dense = copy.deepcopy(self)
        dense.config = dataclasses.replace(self.config, experts=1)
        dense.router = Router(len(self.router.encoder_logits), len(self.router.level_logits), 1)
        dense.router.to(weights)
        for module in dense.modules():
            for name, child in list(module.named_children()):
                if isinstance(child, MixtureLinear):
                    setattr(module, name, child.collapsed(weights))
        return dense
