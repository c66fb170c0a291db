"""`Tokens`: the common currency, one immutable batch of systems of any domain.

A token is a point in space that carries scalars (0e), vectors (1o) and rank-2 tensors (2e). Vectors
are ordered x, y, z; rank-2 tensors follow the component order of e3nn (see `sfm.nn.harmonics`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Tokens:
    """A batch of S systems with N tokens and E edges in all. Systems are stored one after another.

    Attributes:
        positions: (N, 3), in the domain's length unit.
        types: (N,) int64, atomic numbers, 0 for a token that is not an atom.
        scalars: (N, F0), even scalars.
        vectors: (N, 3, F1), polar vectors.
        tensors: (N, 5, F2), symmetric traceless rank-2 tensors.
        edges: (2, E) int64, `[sender, receiver]`, sorted by receiver.
        shifts: (E, 3), image of the sender, in cells.
        system: (N,) int64, index of the system that a token belongs to, ascending.
        cell: (S, 3, 3), rows are lattice vectors; zeros for an open system.
        cutoff: (S,), interaction range in the length unit; the trunk works with r / cutoff.
        context: (S,) int64, index of (encoder, level of theory); it routes the trunk's experts.
        conditions: (S, K), numbers that describe whole systems.
        extras: whatever the encoder's heads need besides; first axis N or S.
        ids: S names, for messages.
        stretch: (E,) factors on the edges' vectors, by which the trunk sees pairs that are too
            close for it at a distance that it knows (`sfm.nn.repulsion`); None: all are one.
    """

    positions: Float[Tensor, "N 3"]
    types: Int[Tensor, " N"]
    scalars: Float[Tensor, "N F0"]
    vectors: Float[Tensor, "N 3 F1"]
    tensors: Float[Tensor, "N 5 F2"]
    edges: Int[Tensor, "2 E"]
    shifts: Float[Tensor, "E 3"]
    system: Int[Tensor, " N"]
    cell: Float[Tensor, "S 3 3"]
    cutoff: Float[Tensor, " S"]
    context: Int[Tensor, " S"]
    conditions: Float[Tensor, "S K"]
    extras: Mapping[str, Shaped[Tensor, "_ ..."]] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
    stretch: Float[Tensor, " E"] | None = None

    @property
    def n_tokens(self) -> int:
        return self.positions.shape[0]

    @property
    def n_systems(self) -> int:
        return self.cell.shape[0]

    @property
    def n_edges(self) -> int:
        return self.edges.shape[1]

    def counts(self) -> Int[Tensor, " S"]:
        """(S,) number of tokens of each system."""
        return torch.bincount(self.system, minlength=self.n_systems)

    def edge_vectors(self) -> Float[Tensor, "E 3"]:
        """(E, 3) from receiver to sender's image, in the length unit; differentiable."""
        sender, receiver = self.edges
        vectors = self.positions[sender] - self.positions[receiver]
        if self.cell.any():
            cells = self.cell[self.system[receiver]]
            vectors = vectors + torch.einsum("ei,eij->ej", self.shifts.to(vectors.dtype), cells)
        return vectors if self.stretch is None else vectors * self.stretch.unsqueeze(1)

    def replace(self, **changes: object) -> Tokens:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def map(self, function: Callable[[Shaped[Tensor, " ..."]], Shaped[Tensor, " ..."]]) -> Tokens:
        """A copy with `function` applied to every tensor."""
        changes = {
            f.name: function(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        extras = {name: function(value) for name, value in self.extras.items()}
        return self.replace(**changes, extras=extras)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Tokens:
        """Move to `device`; `dtype` is applied to floating-point tensors only."""
        return self.map(
            lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None)
        )

    @staticmethod
    def points(
        *,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        system: Int[Tensor, " N"],
        n_systems: int,
        edges: Int[Tensor, "2 E"],
        cutoff: float,
        context: int = 0,
        shifts: Float[Tensor, "E 3"] | None = None,
        cell: Float[Tensor, "S 3 3"] | None = None,
        scalars: Float[Tensor, "N F0"] | None = None,
        vectors: Float[Tensor, "N 3 F1"] | None = None,
        tensors: Float[Tensor, "N 5 F2"] | None = None,
        conditions: Float[Tensor, "S K"] | None = None,
        extras: Mapping[str, Shaped[Tensor, "_ ..."]] | None = None,
        ids: tuple[str, ...] = (),
    ) -> Tokens:
        """Tokens of `n_systems` systems of points, all of one encoder and level of theory.

        What is left out is zero or of width zero. Dtype and device are those of `positions`.

        Args:
            cutoff: interaction range of every system. context: index of (encoder, level).
            The others are the attributes of the same names.
        """
        n, s, device = positions.shape[0], n_systems, positions.device
        new = positions.new_zeros
        return Tokens(
            positions=positions,
            types=types,
            scalars=new(n, 0) if scalars is None else scalars,
            vectors=new(n, 3, 0) if vectors is None else vectors,
            tensors=new(n, 5, 0) if tensors is None else tensors,
            edges=edges,
            shifts=new(edges.shape[1], 3) if shifts is None else shifts,
            system=system,
            cell=new(s, 3, 3) if cell is None else cell,
            cutoff=positions.new_full((s,), float(cutoff)),
            context=torch.full((s,), context, dtype=torch.long, device=device),
            conditions=new(s, 0) if conditions is None else conditions,
            extras=dict(extras or {}),
            ids=ids,
        )

    @staticmethod
    def make(
        *,
        positions: Float[Tensor, "N 3"],
        types: Int[Tensor, " N"],
        edges: Int[Tensor, "2 E"],
        cutoff: float,
        cell: Float[Tensor, "... 3 3"] | None = None,
        conditions: Float[Tensor, "... K"] | None = None,
        id: str = "",
        **features: Any,
    ) -> Tokens:
        """Tokens of one system: `points` with `cell` (3, 3) and `conditions` (K,).

        Args:
            features: `shifts`, `scalars`, `vectors`, `tensors` and `extras`.
        """
        return Tokens.points(
            positions=positions,
            types=types,
            system=torch.zeros(positions.shape[0], dtype=torch.long, device=positions.device),
            n_systems=1,
            edges=edges,
            cutoff=cutoff,
            cell=None if cell is None else cell.reshape(1, 3, 3),
            conditions=None if conditions is None else conditions.reshape(1, -1),
            ids=(id,),
            **features,
        )

    @staticmethod
    def cat(batches: Sequence[Tokens]) -> Tokens:
        """One batch out of several. Feature widths, conditions and extras must agree."""
        if len(batches) == 1:
            return batches[0]
        if not batches:
            raise ValueError("cannot concatenate zero batches")
        tokens, systems = 0, 0
        edges, system = [], []
        for b in batches:
            edges.append(b.edges + tokens)
            system.append(b.system + systems)
            tokens, systems = tokens + b.n_tokens, systems + b.n_systems

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(b, name) for b in batches])

        names = ("positions", "types", "scalars", "vectors", "tensors", "shifts", "cell", "cutoff")
        shared = set(batches[0].extras).intersection(*(b.extras for b in batches))
        return Tokens(
            **{name: joined(name) for name in (*names, "context", "conditions")},
            edges=torch.cat(edges, dim=1),
            system=torch.cat(system),
            extras={k: torch.cat([b.extras[k] for b in batches]) for k in sorted(shared)},
            ids=tuple(i for b in batches for i in b.ids),
            stretch=_stretches(batches),
        )


def _stretches(batches: Sequence[Tokens]) -> Tensor | None:
    if all(b.stretch is None for b in batches):
        return None
    ones = (b.shifts.new_ones(b.n_edges) for b in batches)
    return torch.cat(
        [one if b.stretch is None else b.stretch for b, one in zip(batches, ones, strict=True)]
    )


def system_sum(
    values: Float[Tensor, " N *axes"], system: Int[Tensor, " N"], n_systems: int
) -> Float[Tensor, " {n_systems} *axes"]:
    """(N, ...) summed over the tokens of each system: (S, ...), in the same unit."""
    return values.new_zeros(n_systems, *values.shape[1:]).index_add(0, system, values)
