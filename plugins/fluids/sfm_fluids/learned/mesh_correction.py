"""A coarse mesh that solves as a fine one: coefficients of its triangles from a graph network.

A medium that varies inside the triangles of a coarse mesh has no coefficient there. The geometric
mean of what a triangle holds, times what the network says of its surroundings, is given to the
solver, whose adjoint trains the network:

    k(triangle) = exp(mean of log a + correction(graph)),    -div(k grad u) = f

Messages run between triangles that share an edge. They read means, contrasts and, by the edge's
normal, where in a triangle the medium is dense, so the correction turns with the mesh and does not
know its size; f, the boundary values and the mesh may change after training.

Source of the idea, for flows: F. de Avila Belbute-Peres, T. Economon, Z. Kolter, Combining
Differentiable PDE Solvers and Graph Neural Networks for Fluid Flow Prediction, ICML 2020,
arXiv:2007.04439. Any consistent system of units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.errors import InputError
from sfm_fluids.elements.mesh import Mesh, edges

FACTS = 4
LARGEST = 2.0  # of the correction's size


@dataclass(frozen=True, eq=False)
class Medium:
    """What the triangles of a coarse mesh hold of a finer medium.

    Attributes:
        log_mean: (m,) mean of log a.
        facts: (m, 4) variance of log a, logarithms of the arithmetic and of the harmonic mean over
            the geometric one, and 1 over the number of edges that are shared.
        moment: (m, 2) mean of (log a - its mean) d, d from the triangle's centre over its size.
        pairs: (2, E) triangles that share an edge, both ways round.
        normals: (E, 2) unit normals of these edges, out of the first of a pair.
        mesh: the coarse one.
    """

    log_mean: Float[Tensor, " m"]
    facts: Float[Tensor, "m f"]
    moment: Float[Tensor, "m 2"]
    pairs: Int[Tensor, "2 E"]
    normals: Float[Tensor, "E 2"]
    mesh: Mesh


def medium(mesh: Mesh, places: Float[Tensor, "k 2"], values: Float[Tensor, " k"]) -> Medium:
    """The medium of `mesh` that has the values a > 0 at places of equal weight.

    Args:
        mesh: the coarse one.
        places: centres of the finer medium's cells.
        values: a, there.

    Raises:
        InputError: a triangle holds no place, or a value is not positive.
    """
    if not bool((values > 0).all()):
        raise InputError("a medium's values must be positive")
    corners = mesh.points[mesh.triangles]
    owner = _holders(corners, places)
    m = len(corners)
    count = torch.bincount(owner, minlength=m).double()
    if not bool((count > 0).all()):
        raise InputError(f"triangle {int(count.argmin())} of the mesh holds no cell of the medium")

    def mean(x: Tensor) -> Tensor:
        by = count.reshape(-1, *[1] * (x.ndim - 1))
        return x.new_zeros(m, *x.shape[1:]).index_add(0, owner, x) / by

    log = values.double().log()
    log_mean = mean(log)
    rest = log - log_mean[owner]
    centre = corners.mean(1)
    size = torch.linalg.vector_norm(corners - centre[:, None], dim=2).mean(1)
    moment = mean(rest[:, None] * (places - centre[owner]) / size[owner, None])
    pairs, normals = _neighbours(mesh, centre)
    shared = torch.bincount(pairs[0], minlength=m).clamp_min(1).double()
    facts = (mean(rest.square()), mean(rest.exp()).log(), -mean((-rest).exp()).log(), 1 / shared)
    return Medium(log_mean, torch.stack(facts, 1), moment, pairs, normals, mesh)


def _holders(corners: Tensor, places: Tensor) -> Tensor:
    """(k,) the triangle that each place lies in, or comes nearest to lying in."""
    a, b, c = corners.unbind(1)

    def side(p: Tensor, q: Tensor) -> Tensor:
        edge = q - p
        apart = places[:, None] - p
        return edge[:, 0] * apart[..., 1] - edge[:, 1] * apart[..., 0]

    return torch.stack((side(a, b), side(b, c), side(c, a))).amin(0).argmax(1)


def _neighbours(mesh: Mesh, centre: Tensor) -> tuple[Tensor, Tensor]:
    """(2, E) pairs of triangles with an edge in common, (E, 2) normals out of the first."""
    ends, place = edges(mesh.triangles)
    order = place.flatten().argsort(stable=True)
    name, owner = place.flatten()[order], order // 3
    twice = torch.nonzero(name[1:] == name[:-1])[:, 0]
    first, second, edge = owner[twice], owner[twice + 1], name[twice]
    along = mesh.points[ends[edge, 1]] - mesh.points[ends[edge, 0]]
    normal = torch.stack((along[:, 1], -along[:, 0]), -1)
    normal = nn.functional.normalize(normal, dim=1)
    outward = ((centre[second] - centre[first]) * normal).sum(1, keepdim=True).sign()
    normal = normal * outward
    return (
        torch.stack((torch.cat((first, second)), torch.cat((second, first)))),
        torch.cat((normal, -normal)),
    )


class Correction(nn.Module, ABC):
    """`Medium` -> log-correction of every triangle's coefficient, (m,), dimensionless."""

    @abstractmethod
    def unbounded(self, medium: Medium) -> Float[Tensor, " m"]:
        """The correction before its size is limited, (m,)."""

    def forward(self, medium: Medium) -> Float[Tensor, " m"]:
        return LARGEST * torch.tanh(self.unbounded(medium) / LARGEST)

    def factor(self, medium: Medium) -> Float[Tensor, " m"]:
        """The coefficient of every triangle, in the medium's unit; float64."""
        correction: Tensor = self(medium)
        return (medium.log_mean + correction.double()).exp()


class MeshCorrection(Correction):
    """The correction of a graph network.

    Args:
        width: of the messages.
        rounds: of messages.
    """

    def __init__(self, *, width: int = 24, rounds: int = 3) -> None:
        super().__init__()
        self.lift = nn.Linear(FACTS, width)
        self.message = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width + 3, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(rounds)
        )
        self.update = nn.ModuleList(
            nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(rounds)
        )
        self.out = nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def unbounded(self, medium: Medium) -> Float[Tensor, " m"]:
        like = self.out.weight
        here, there = medium.pairs
        across = torch.stack(
            (
                medium.log_mean[there] - medium.log_mean[here],
                (medium.moment[here] * medium.normals).sum(1),
                -(medium.moment[there] * medium.normals).sum(1),
            ),
            -1,
        ).to(like)
        h = self.lift(medium.facts.to(like))
        for message, update in zip(self.message, self.update, strict=True):
            said = message(torch.cat((h[here], h[there], across), 1))
            heard = torch.zeros_like(h).index_add(0, here, said)
            h = h + update(torch.cat((h, heard), 1))
        correction: Tensor = self.out(h)[:, 0]
        return correction
