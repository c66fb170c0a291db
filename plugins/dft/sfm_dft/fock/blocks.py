"""The equivariant module: features of atoms -> blocks of the Fock matrix.

    F_ij = F0_ij + 1/2 (A_i S_ij + S_ij A_j) + (1 - delta_ij) (B_ij + B_ji^T)

F0 is a cheap matrix (`labels.starting_matrix`) and S the overlap. A_i, symmetric (5, 5), says how
the potential near atom i differs from superposed atoms. The second term is what a potential that
varies slowly does to overlapping functions (R. S. Mulliken, J. Chim. Phys. 46, 497, 1949): a
constant shift c of the potential, A_i = c, gives c S exactly. B_ij, from the features of both atoms
and the edge between them, is what is left; it decays as exp(-r^2 / 2 rho^2).

By irreps, with s = (1s, 2s) and p the three 2p functions:

    s-s   2 x 2 scalars                                                    0e
    s-p   2 vectors                                                        1o
    p-p   a 1 + [b]_x + T, a scalar, an axial vector, a symmetric tensor   0e + 1e + 2e

A_i has no axial part as it is symmetric. Vectors are gated sums of the edge's direction n, of the
atoms' vectors v and of T n; the axial vector is one of n x v and n x T n; tensors are sums of n n,
n v and T, symmetric and traceless. B_ji^T makes F symmetric by construction.

Hartree and angstrom inside; the trunk's features are those of `sfm.nn.trunk`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.tokens import Tokens
from sfm.nn.harmonics import to_matrix
from sfm.nn.head import ScalarReadout
from sfm_dft.fock.basis import FUNCTIONS, WIDTH
from sfm_dft.fock.pairs import Pairs

CLASSES = (0, 1, 2, 2, 2)  # 1s, 2s, 2p: blocks are scaled by class, so that p triples stay triples


def assemble(
    scalars: Float[Tensor, "N 2 2"],
    right: Float[Tensor, "N 2 3"],
    left: Float[Tensor, "N 3 2"],
    square: Float[Tensor, "N 3 3"],
) -> Float[Tensor, "N 5 5"]:
    """s-s (N, 2, 2), s-p (N, 2, 3), p-s (N, 3, 2) and p-p (N, 3, 3) -> (N, 5, 5)."""
    above, below = torch.cat([scalars, right], dim=2), torch.cat([left, square], dim=2)
    return torch.cat([above, below], dim=1)


def traceless(
    left: Float[Tensor, "*N 3 C"], right: Float[Tensor, "*N 3 C"]
) -> Float[Tensor, "*N 3 3 C"]:
    """(..., 3, C) twice -> (..., 3, 3, C): symmetric traceless part of the outer product."""
    outer = left.unsqueeze(-2) * right.unsqueeze(-3)
    trace = (left * right).sum(-2, keepdim=True).unsqueeze(-3) / 3.0
    eye = torch.eye(3, dtype=left.dtype, device=left.device).unsqueeze(-1)
    return 0.5 * (outer + outer.transpose(-3, -2)) - trace * eye


def cross_matrix(axial: Float[Tensor, "*N 3"]) -> Float[Tensor, "*N 3 3"]:
    """(N, 3) axial vectors -> (N, 3, 3) antisymmetric, [b]_x u = b x u."""
    x, y, z = axial.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(r, -1) for r in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.stack(rows, dim=-2)


class AtomBlock(nn.Module):
    """A_i from the features of atom i, before scaling: (N, 5, 5), symmetric."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scalars = ScalarReadout(channels, 4)
        self.gate_vectors = nn.Linear(channels, channels)
        self.gate_tensors = nn.Linear(channels, channels)
        self.vectors = nn.Linear(channels, 2, bias=False)
        self.tensors = nn.Linear(channels, 1, bias=False)

    def forward(self, features: Tokens) -> Float[Tensor, "N 5 5"]:
        first, mixed, second, trace = self.scalars(features.scalars).unbind(-1)
        ss = torch.stack([first, mixed, mixed, second], -1).reshape(-1, 2, 2)
        gated = features.vectors * self.gate_vectors(features.scalars).unsqueeze(1)
        ps = self.vectors(gated)
        gated = features.tensors * self.gate_tensors(features.scalars).unsqueeze(1)
        pp = to_matrix(self.tensors(gated)).squeeze(-1)
        pp = pp + trace[:, None, None] * torch.eye(3, dtype=pp.dtype, device=pp.device)
        return assemble(ss, ps.transpose(1, 2), ps, pp)


class PairBlock(nn.Module):
    """B_ij from the features of both atoms and the edge, before scaling and decay: (E, 5, 5).

    Args:
        channels: width of the trunk.
        carried: vectors and tensors of each atom that take part.
        hidden: width of the perceptron that makes scalars and gates.
        radial: Gaussians of the distance.
        reach: angstrom, centre of the last of them.
    """

    centres: Tensor

    def __init__(
        self,
        channels: int,
        carried: int = 24,
        hidden: int = 128,
        radial: int = 20,
        reach: float = 6,
    ) -> None:
        super().__init__()
        self.carried = carried
        self.register_buffer("centres", torch.linspace(0.5, reach, radial))
        self.spacing = (reach - 0.5) / (radial - 1)
        self.ends = nn.ModuleList(nn.Linear(channels, hidden, bias=False) for _ in range(2))
        self.end_vectors = nn.ModuleList(nn.Linear(channels, carried, bias=False) for _ in range(2))
        self.end_tensors = nn.ModuleList(nn.Linear(channels, carried, bias=False) for _ in range(2))
        self.invariants = nn.Linear(6 * carried, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.filter = nn.Linear(radial, hidden)
        self.inner = nn.Linear(hidden, hidden)
        # 4 + 1 scalars; 4 vectors and 1 tensor along the edge; gates
        self.outer = nn.Linear(hidden, 10 + 12 * carried)
        self.vectors = nn.Linear(4 * carried, 4, bias=False)
        self.axial = nn.Linear(4 * carried, 1, bias=False)
        self.tensors = nn.Linear(4 * carried, 1, bias=False)

    def forward(
        self, features: Tokens, first: Int[Tensor, " E"], second: Int[Tensor, " E"]
    ) -> Float[Tensor, "E 5 5"]:
        edge = features.positions[second] - features.positions[first]
        length = torch.linalg.vector_norm(edge, dim=-1, keepdim=True)
        n = (edge / length).unsqueeze(-1)  # (E, 3, 1)
        ends = (first, second)
        # project on the atoms before copying to pairs: there are fewer of them
        v1, v2 = (w(features.vectors)[k] for w, k in zip(self.end_vectors, ends, strict=True))
        t1, t2 = (
            to_matrix(w(features.tensors))[k] for w, k in zip(self.end_tensors, ends, strict=True)
        )
        along1, along2 = ((t * n.unsqueeze(1)).sum(2) for t in (t1, t2))  # (E, 3, D): T n
        invariants = torch.cat(
            [
                (v1 * n).sum(1),
                (v2 * n).sum(1),
                (v1 * v2).sum(1),
                (along1 * n).sum(1),
                (along2 * n).sum(1),
                (t1 * t2).sum((1, 2)),
            ],
            dim=1,
        )
        x = sum(w(features.scalars)[k] for w, k in zip(self.ends, ends, strict=True))
        x = nn.functional.silu(self.norm(x + self.invariants(invariants)))
        x = x * self.filter(torch.exp(-0.5 * ((length - self.centres) / self.spacing) ** 2))
        x = self.outer(nn.functional.silu(self.inner(x)))
        plain, *gates = x.split([10, *[4 * self.carried] * 3], dim=1)
        g1, ga, g2 = (g.unsqueeze(1) for g in gates)
        ss, trace, straight, stretch = plain.split([4, 1, 4, 1], dim=1)

        polar = torch.cat([v1, v2, along1, along2], dim=2)
        sp, ps = (n * straight.unsqueeze(1) + self.vectors(polar * g1)).split(2, dim=2)
        axial = self.axial(torch.linalg.cross(n.expand_as(polar), polar, dim=1) * ga).squeeze(-1)
        wide = n.expand_as(v1)
        shapes = torch.cat([t1, t2, traceless(wide, v1), traceless(wide, v2)], dim=3)
        pp = self.tensors(shapes * g2.unsqueeze(2)).squeeze(-1)
        pp = pp + traceless(n, n).squeeze(-1) * stretch.unsqueeze(-1)
        eye = torch.eye(3, dtype=pp.dtype, device=pp.device)
        pp = pp + trace.unsqueeze(-1) * eye + cross_matrix(axial)
        return assemble(ss.reshape(-1, 2, 2), sp.transpose(1, 2), ps, pp)


class FockBlocks(nn.Module):
    """F - F0 of a batch of molecules, block by block; see the module's docstring.

    Args:
        channels: width of the trunk.
        decay: rho in angstrom.
        options: of `PairBlock`.
    """

    present: Tensor
    mean: Tensor
    atom_scale: Tensor
    pair_scale: Tensor

    def __init__(self, channels: int, *, decay: float = 2.0, **options: int) -> None:
        super().__init__()
        self.decay = decay
        self.atoms = AtomBlock(channels)
        self.pairs = PairBlock(channels, **options)
        present = torch.zeros(119, WIDTH)
        for number, count in FUNCTIONS.items():
            present[number, :count] = 1.0
        self.register_buffer("present", present)
        # fitted on the training data by `training.normalise`, in hartree
        self.register_buffer("mean", torch.zeros(119, WIDTH, WIDTH))
        self.register_buffer("atom_scale", torch.full((WIDTH, WIDTH), 0.1))
        self.register_buffer("pair_scale", torch.full((WIDTH, WIDTH), 0.1))

    def mask(self, types: Int[Tensor, " N"], pairs: Pairs) -> Float[Tensor, "P 5 5"]:
        """(P, 5, 5) one where both functions exist, else zero."""
        inside = self.present[types]
        return inside[pairs.first].unsqueeze(2) * inside[pairs.second].unsqueeze(1)

    def forward(
        self, features: Tokens, pairs: Pairs, overlap: Float[Tensor, "P 5 5"]
    ) -> Float[Tensor, "P 5 5"]:
        """Features of N atoms, overlap (P, 5, 5) -> F - F0, (P, 5, 5) in hartree."""
        first, second = pairs.first, pairs.second
        on_site = self.mean[features.types] + self.atom_scale * self.atoms(features)
        out = 0.5 * (on_site[first] @ overlap + overlap @ on_site[second])
        apart = torch.nonzero(first != second).squeeze(1)
        if len(apart):
            i, j = first[apart], second[apart]
            squared = (features.positions[i] - features.positions[j]).square().sum(-1)
            fading = torch.exp(-0.5 * squared / self.decay**2)[:, None, None]
            one_way = self.pair_scale * fading * self.pairs(features, i, j)
            both = torch.zeros_like(out).index_copy(0, apart, one_way)
            out = out + both + both[pairs.reverse].transpose(1, 2)
        blocks: Tensor = out * self.mask(features.types, pairs)
        return blocks
