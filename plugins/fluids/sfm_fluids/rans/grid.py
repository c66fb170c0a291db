"""Finite volumes between a wall and the centreline of a channel, in wall units.

Nodes y_0 = 0 (wall) to y_N = Re_tau (centreline) and faces midway between nodes, so that a
two-point difference at a face is exact for a parabola. Node j > 0 owns the volume between its two
faces; the last one ends at the centreline, through which nothing flows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def stretched(cells: int, stretching: float) -> Float[Tensor, " {cells+1}"]:
    """(N + 1,) nodes y/h from 0 to 1, y/h = 1 - tanh(g (1 - s)) / tanh(g); float64.

    One-sided stretching after M. Vinokur, J. Comput. Phys. 50, 215 (1983).

    Args:
        cells: N.
        stretching: g; 0 for equal spacing, 2.5 for a first node at y/h = 0.0007 with N = 96.
    """
    s = torch.linspace(0, 1, cells + 1, dtype=torch.float64)
    if stretching == 0:
        return s
    return 1 - torch.tanh(stretching * (1 - s)) / math.tanh(stretching)


def with_wall(x: Float[Tensor, "*flows N"]) -> Float[Tensor, "*flows N+1"]:
    """(..., N) values at nodes 1 to N -> (..., N + 1), zero at the wall."""
    return torch.cat([torch.zeros_like(x[..., :1]), x], -1)


def at_faces(x: Float[Tensor, "*flows nodes"]) -> Float[Tensor, "*flows nodes-1"]:
    """(..., N + 1) node values -> (..., N), their means at the faces."""
    return (x[..., 1:] + x[..., :-1]) / 2


class HalfChannel(NamedTuple):
    """The grid at one or more friction Reynolds numbers.

    Attributes:
        nodes: (..., N + 1) y+.
        faces: (..., N) y+.
        spacing: (..., N) between nodes.
        volumes: (..., N) of nodes 1 to N.
        height: (..., 1) Re_tau.
    """

    nodes: Float[Tensor, "*flows N+1"]
    faces: Float[Tensor, "*flows N"]
    spacing: Float[Tensor, "*flows N"]
    volumes: Float[Tensor, "*flows N"]
    height: Float[Tensor, "*flows 1"]

    @classmethod
    def at(
        cls, outer: Float[Tensor, " nodes"], friction_reynolds: Float[Tensor, "*flows"]
    ) -> HalfChannel:
        """The grid `outer` (N + 1,) of y/h at Re_tau (...)."""
        height = friction_reynolds.unsqueeze(-1)
        nodes = outer * height
        faces = at_faces(nodes)
        volumes = torch.cat([faces[..., 1:], nodes[..., -1:]], -1) - faces
        return cls(nodes, faces, nodes[..., 1:] - nodes[..., :-1], volumes, height)

    def gradient(self, x: Float[Tensor, "*flows nodes"]) -> Float[Tensor, "*flows nodes-1"]:
        """(..., N + 1) at nodes -> (..., N) derivative at faces."""
        return (x[..., 1:] - x[..., :-1]) / self.spacing

    def divergence(self, flux: Float[Tensor, "*flows N"]) -> Float[Tensor, "*flows N"]:
        """(..., N) flux at faces, none at the centreline -> (..., N) at nodes 1 to N."""
        return (torch.cat([flux[..., 1:], torch.zeros_like(flux[..., :1])], -1) - flux) / (
            self.volumes
        )

    def at_nodes(
        self, x: Float[Tensor, "*flows N"], centre: Float[Tensor, "*flows 1"] | None = None
    ) -> Float[Tensor, "*flows N"]:
        """(..., N) at faces -> (..., N) at nodes 1 to N, linear; `centre` or 0 at the last one."""
        left, right = self.spacing[..., :-1], self.spacing[..., 1:]
        inner = (x[..., :-1] * right + x[..., 1:] * left) / (left + right)
        last = torch.zeros_like(x[..., :1]) if centre is None else centre
        return torch.cat([inner, last], -1)

    def mean(
        self, x: Float[Tensor, "*flows nodes"], slope: Float[Tensor, "*flows nodes"]
    ) -> Float[Tensor, "*flows"]:
        """(..., N + 1) at nodes and the slopes there -> (...) mean of the cubic Hermite spline."""
        correction = self.spacing * (slope[..., :-1] - slope[..., 1:]) / 12
        return ((at_faces(x) + correction) * self.spacing).sum(-1) / self.height.squeeze(-1)
