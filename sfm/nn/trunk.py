"""The trunk: the one E(3)-equivariant network that all domains share.

Tokens carry C channels of scalars (0e), vectors (1o) and rank-2 tensors (2e), stored apart and
channels-last: (N, C), (3, N, C), (5, N, C). A layer gathers, on every token i, a density of its
neighbours j,

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
from jaxtyping import Float
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.nn.compiled import (
    CompiledBasis,
    CompiledCoupling,
    CompiledDensity,
    Kernels,
    Wiring,
    kernels_for,
)
from sfm.nn.density import Density, Layout
from sfm.nn.elements import TypeEmbedding
from sfm.nn.harmonics import products, spherical_harmonics
from sfm.nn.mixture import MixtureLinear, Router, Routing, apply
from sfm.nn.neighbourhoods import Neighbourhoods
from sfm.nn.radial import bessel

INVARIANTS = "invariants"
SMALLEST = 1e-2


def smooth_norm(components: Float[Tensor, "N k C"]) -> Float[Tensor, "N C"]:
    """(N, k, C) -> (N, C) length over the components, with a derivative at zero; dimensionless."""
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
    # twice as wide: it starts as a tiny one (`sfm.model.widening`)
    "small": TrunkConfig(channels=128, carried=32),
}


@dataclass(frozen=True)
class Geometry:
    """What all layers share of a batch, on the padded edges of `hoods`.

    Attributes:
        hoods: how tokens and edges lie.
        radial: (E', K), over the root of the mean number of neighbours.
        y1, y2: (E', 3), (E', 5) harmonics.
        carried: (E', 8 D) harmonics, each repeated for every carried channel.
        runs: which run of tokens each block belongs to.
    """

    hoods: Neighbourhoods
    radial: Float[Tensor, "E K"]
    y1: Float[Tensor, "E 3"]
    y2: Float[Tensor, "E 5"]
    carried: Float[Tensor, "E D8"]
    runs: tuple[int, ...]


@dataclass(frozen=True)
class CompiledGeometry:
    """What all layers share of a batch where the kernels are compiled; tokens in their own order.

    Attributes:
        wiring: which tokens the edges connect.
        radial: (E, K), over the root of the mean number of neighbours.
        harmonics: (E, 8), of degrees 1 and 2.
        kernels: the compiled functions.
    """

    wiring: Wiring
    radial: Float[Tensor, "E K"]
    harmonics: Float[Tensor, "E 8"]
    kernels: Kernels


@dataclass(frozen=True)
class Features:
    """What tokens carry inside the trunk: (N, C), (3, N, C), (5, N, C).

    Vectors and tensors are None where they vanish, as those of atoms do at first.
    """

    scalars: Float[Tensor, "N C"]
    vectors: Float[Tensor, "3 N C"] | None
    tensors: Float[Tensor, "5 N C"] | None

    def of(self, tokens: Tokens, hoods: Neighbourhoods | None) -> Tokens:
        """`tokens` with these features, in their own order; None: which is that of the features."""
        scalars = self.scalars
        n, c = scalars.shape
        parts = (
            scalars.new_zeros(n, k, c) if x is None else x.transpose(0, 1)
            for k, x in ((3, self.vectors), (5, self.tensors))
        )
        if hoods is None:
            vectors, tensors = parts
        else:
            vectors, tensors = (x.index_select(0, hoods.place) for x in parts)
            scalars = scalars.index_select(0, hoods.place)
        return tokens.replace(scalars=scalars, vectors=vectors, tensors=tensors)


def _laid(x: Tensor, hoods: Neighbourhoods | None) -> Tensor:
    """Tokens' features in the order of the layout."""
    return x if hoods is None else x.index_select(0, hoods.order)


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

    def density(
        self, h: Features, geometry: Geometry | CompiledGeometry, routing: Routing
    ) -> tuple[Float[Tensor, "N C"], Float[Tensor, "3 N C"], Float[Tensor, "5 N C"]]:
        """Mixed neighbour densities: (N, C), (3, N, C), (5, N, C); dimensionless."""
        if isinstance(geometry, CompiledGeometry):
            return self.compiled_density(h, geometry, routing)
        c, d, hoods = self.channels, self.carried, geometry.hoods
        scalars = self.send_scalars(self.norm(h.scalars), routing)
        filters = self.filters.matrices(routing)
        m0, m1, m2 = (
            m.matrices(routing) for m in (self.mix_scalars, self.mix_vectors, self.mix_tensors)
        )
        carried = geometry.carried
        if h.vectors is None or h.tensors is None:
            d, carried = 0, carried[:, :0]
            moving = scalars[:, :0]
            filters, m0, m1, m2 = filters[..., : 3 * c], m0[:, :c], m1[:, :c], m2[:, :c]
        else:
            sent = [self.send_vectors(h.vectors, routing), self.send_tensors(h.tensors, routing)]
            moving = torch.cat(sent).transpose(0, 1).reshape(len(scalars), 8 * d)
            # the density has every component of a scalar product: their sum is that of the products
            s, v, t = m0.split([c, d, d], dim=1)
            m0 = torch.cat([s, v, v, v, t, t, t, t, t], dim=1)
        layout = Layout(c, d, len(scalars), hoods.blocks, geometry.runs)
        a0, a1, a2 = Density.apply(
            geometry.radial,
            geometry.y1,
            geometry.y2,
            carried,
            scalars.index_select(0, hoods.sender),
            moving.index_select(0, hoods.sender),
            filters,
            layout,
        )
        nodes = routing.nodes
        return apply(a0, m0, nodes), apply(a1, m1, nodes), apply(a2, m2, nodes)

    def compiled_density(
        self, h: Features, geometry: CompiledGeometry, routing: Routing
    ) -> tuple[Float[Tensor, "N C"], Float[Tensor, "3 N C"], Float[Tensor, "5 N C"]]:
        """As `density`, compiled: (N, C), (3, N, C), (5, N, C); dimensionless."""
        c, nodes = self.channels, routing.nodes
        scalars = self.send_scalars(self.norm(h.scalars), routing)
        mixes = [
            m.matrices(routing) for m in (self.mix_scalars, self.mix_vectors, self.mix_tensors)
        ]
        moving = scalars[:, :0]
        if h.vectors is None or h.tensors is None:
            mixes = [m[:, :c] for m in mixes]
        else:
            sent = [self.send_vectors(h.vectors, routing), self.send_tensors(h.tensors, routing)]
            moving = torch.cat(sent).transpose(0, 1).reshape(len(scalars), 8 * self.carried)
        sums = CompiledDensity.apply(
            geometry.radial,
            geometry.harmonics,
            scalars,
            moving,
            self.filters.matrices(routing),
            geometry.wiring,
            geometry.kernels,
        )
        a0, a1, a2 = (apply(a, m, nodes) for a, m in zip(sums, mixes, strict=True))
        return a0, a1, a2

    def forward(
        self, h: Features, geometry: Geometry | CompiledGeometry, routing: Routing
    ) -> Features:
        c = self.channels
        a0, a1, a2 = self.density(h, geometry, routing)
        invariants = torch.cat(
            [h.scalars, a0, (a1 * a1).sum(0), (a2 * a2).sum(0)],
            dim=1,
        )
        x = self.inner(self.invariant_norm(invariants), routing)
        x = self.outer(nn.functional.silu(x + self.bias), routing)
        if isinstance(geometry, CompiledGeometry):
            update = x[:, :c]
            v, t = CompiledCoupling.apply(a1, a2, x, geometry.kernels)
        else:
            a21, a11, a22 = products(a1, a2)
            update, g1, g21, g2, g11, g22 = x.split(c, dim=1)
            v, t = g1 * a1 + g21 * a21, g2 * a2 + g11 * a11 + g22 * a22
        vectors, tensors = self.out_vectors(v, routing), self.out_tensors(t, routing)
        return Features(
            h.scalars + update,
            vectors if h.vectors is None else h.vectors + vectors,
            tensors if h.tensors is None else h.tensors + tensors,
        )


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
        self.router = Router(encoders, levels, len(contexts), config.experts)
        # mean number of neighbours per context, measured on the training data
        self.register_buffer("neighbours", torch.full((len(contexts),), 16.0))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def routing(self, tokens: Tokens) -> Routing:
        """Expert weights of each run of tokens with the same context."""
        runs, sizes = torch.unique_consecutive(tokens.context, return_counts=True)
        # systems -> runs -> numbers of tokens
        run_of_system = torch.repeat_interleave(torch.arange(len(runs), device=runs.device), sizes)
        nodes = torch.bincount(run_of_system[tokens.system], minlength=len(runs))
        if self.config.experts == 1:
            weights = self.router.encoder_logits.new_ones(len(runs), 1)
        else:
            encoder, level = self.contexts[runs].unbind(1)
            weights = self.router(encoder, level, runs)
        return Routing(weights, tuple(nodes.tolist()))

    def geometry(self, tokens: Tokens, routing: Routing) -> Geometry:
        """Edges in reduced lengths; differentiable in positions and cell."""
        hoods = Neighbourhoods.of(tokens.edges, routing.nodes)
        vectors = tokens.edge_vectors().index_select(0, hoods.edge)
        # padding lies at the cutoff, where radial functions and their slopes vanish
        vectors = torch.where(hoods.real.unsqueeze(1), vectors, 1.0)
        length = torch.linalg.vector_norm(vectors, dim=-1)
        system = tokens.system[tokens.edges[1]][hoods.edge]
        reduced = torch.where(hoods.real, length / tokens.cutoff[system], 1.0)
        density = self.neighbours[tokens.context].rsqrt()[system].to(length.dtype)
        harmonics = spherical_harmonics(vectors / length.unsqueeze(-1))[:, 1:]
        y1, y2 = harmonics.split([3, 5], dim=1)
        return Geometry(
            hoods=hoods,
            radial=bessel(reduced, self.config.radial) * density.unsqueeze(1),
            y1=y1.contiguous(),
            y2=y2.contiguous(),
            carried=harmonics.repeat_interleave(self.config.carried, dim=1),
            runs=hoods.runs,
        )

    def compiled_geometry(
        self, tokens: Tokens, routing: Routing, kernels: Kernels
    ) -> CompiledGeometry:
        """As `geometry`, compiled: radial functions (E, K), harmonics (E, 8); dimensionless.

        Vectors are float64 in every precision of the network, and so their gradients are summed.
        """
        system = tokens.system[tokens.edges[1]]
        exact = tokens.replace(positions=tokens.positions.double(), cell=tokens.cell.double())
        vectors = exact.edge_vectors()
        cutoff = tokens.cutoff.double()[system]
        weight = self.neighbours[tokens.context].double().rsqrt()[system]
        radial, harmonics = CompiledBasis.apply(vectors, cutoff, weight, kernels)
        wiring = Wiring.of(tokens.edges, routing.nodes)
        return CompiledGeometry(wiring, radial, harmonics, kernels)

    def states(self, tokens: Tokens) -> Iterator[tuple[Features, Neighbourhoods | None]]:
        """Features after the embedding and each layer, and how they lie; None: as they came."""
        config, routing = self.config, self.routing(tokens)
        kernels = kernels_for(tokens.positions, config.channels, config.carried, config.radial)
        geometry: Geometry | CompiledGeometry
        if kernels is None:
            geometry = self.geometry(tokens, routing)
        else:
            geometry = self.compiled_geometry(tokens, routing, kernels)
        hoods = geometry.hoods if isinstance(geometry, Geometry) else None
        embedded = self.types(tokens.types) + self.context_scalars(tokens.context)[tokens.system]
        h = Features(_laid(tokens.scalars + embedded, hoods), None, None)
        if tokens.vectors.shape[2]:
            vectors, tensors = (
                _laid(x, hoods).transpose(0, 1).contiguous()
                for x in (tokens.vectors, tokens.tensors)
            )
            h = Features(h.scalars, vectors, tensors)
        yield h, hoods
        for layer in self.layers:
            h = layer(h, geometry, routing)
            yield h, hoods

    def forward(self, tokens: Tokens, *, invariants: bool = False) -> Tokens:
        """The updated tokens; with `invariants`, those of all layers as the extra of this name.

        They are (N, 3 C (layers + 1)): scalars, norms of vectors and norms of tensors, layer after
        layer; what closed-form heads rest on. Vectors and tensors that vanish for all tokens may be
        left out, of width 0.
        """
        collected = []
        for h, hoods in self.states(tokens):
            if invariants:
                state = h.of(tokens, hoods)
                norms = [smooth_norm(x) for x in (state.vectors, state.tensors)]
                collected += [state.scalars, *norms]
        extras = {INVARIANTS: torch.cat(collected, dim=1)} if invariants else tokens.extras
        return h.of(tokens, hoods).replace(extras=extras)

    @torch.no_grad()
    def collapsed(self, context: int) -> Trunk:
        """A dense trunk (one expert) that equals this one for systems of `context` only."""
        index = torch.tensor([context], device=self.contexts.device)
        weights = self.router(*self.contexts[index].unbind(1), index)[0]
        dense = copy.deepcopy(self)
        dense.config = dataclasses.replace(self.config, experts=1)
        encoders, levels = len(self.router.encoder_logits), len(self.router.level_logits)
        dense.router = Router(encoders, levels, len(self.contexts), 1)
        dense.router.to(weights)
        for module in dense.modules():
            for name, child in list(module.named_children()):
                if isinstance(child, MixtureLinear):
                    setattr(module, name, child.collapsed(weights))
        return dense
