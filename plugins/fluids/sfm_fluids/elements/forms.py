"""Element matrices and vectors: integrals over each triangle, differentiable in points and data.

    triangles   phi_i, grad phi_i, weights   what all forms need of a triangle
    diffusion   int k grad phi_i . grad phi_j
    advection   int phi_i b . grad phi_j
    mass        int c phi_i phi_j
    elastic     int lambda div u div v + 2 mu eps(u) : eps(v)
    divergence  -int psi_l div phi
    load        int f phi_i
    integral    int u

Source: P. G. Ciarlet, The Finite Element Method for Elliptic Problems (North-Holland, 1978),
chapter 2. Any consistent system of units.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_fluids.elements.space import Space
from sfm_fluids.elements.triangle import shapes


class Triangles(NamedTuple):
    """Of each triangle: shape functions and gradients at quadrature points, and their areas.

    Attributes:
        values: (q, k).
        gradients: (m, q, k, 2), per length.
        measure: (m, q) weight times area.
    """

    values: Float[Tensor, "q k"]
    gradients: Float[Tensor, "m q k 2"]
    measure: Float[Tensor, "m q"]


def triangles(space: Space, points: Float[Tensor, "n 2"], degree: int | None = None) -> Triangles:
    """Geometry of the space's triangles with its points at `points`; of another degree if given."""
    shape = shapes(degree or space.degree)
    a, b, c = points[space.mesh.triangles].unbind(1)
    u, v = b - a, c - a
    det = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    inverse = torch.stack(
        (torch.stack((v[:, 1], -v[:, 0]), -1), torch.stack((-u[:, 1], u[:, 0]), -1)), 1
    )
    inverse = inverse / det[:, None, None]  # rows: gradients of the two reference coordinates
    gradients = torch.einsum("qkr,mrx->mqkx", shape.gradients.to(det), inverse)
    measure = 0.5 * det[:, None] * shape.weights.to(det)
    return Triangles(shape.values.to(det), gradients, measure)


def diffusion(t: Triangles, k: Float[Tensor, " m"]) -> Float[Tensor, "m k k"]:
    """int k grad phi_i . grad phi_j; k per triangle."""
    return torch.einsum("m,mq,mqix,mqjx->mij", k, t.measure, t.gradients, t.gradients)


def advection(t: Triangles, b: Float[Tensor, "m 2"]) -> Float[Tensor, "m k k"]:
    """int phi_i b . grad phi_j; b per triangle."""
    return torch.einsum("mq,qi,mx,mqjx->mij", t.measure, t.values, b, t.gradients)


def mass(t: Triangles, c: Float[Tensor, " m"]) -> Float[Tensor, "m k k"]:
    """int c phi_i phi_j; c per triangle."""
    return torch.einsum("m,mq,qi,qj->mij", c, t.measure, t.values, t.values)


def elastic(
    t: Triangles, first: Float[Tensor, " m"], shear: Float[Tensor, " m"]
) -> Float[Tensor, "m kk kk"]:
    """int lambda div u div v + 2 mu eps(u) : eps(v), unknowns (node, component); per triangle."""
    g = t.gradients
    outer = torch.einsum("mq,mqix,mqjy->mixjy", t.measure, g, g)
    same = torch.einsum("mixjx->mij", outer)
    eye = torch.eye(2, dtype=g.dtype)
    by = [x[:, None, None, None, None] for x in (first, shear)]
    matrix = by[0] * outer + by[1] * (
        outer.transpose(2, 4) + torch.einsum("mij,xy->mixjy", same, eye)
    )
    size = 2 * g.shape[2]
    return matrix.reshape(len(g), size, size)


def divergence(t: Triangles, tests: Float[Tensor, "q l"]) -> Float[Tensor, "m l kk"]:
    """-int psi_l div phi, phi's unknowns (node, component)."""
    matrix = -torch.einsum("mq,ql,mqkx->mlkx", t.measure, tests, t.gradients)
    return matrix.flatten(2)


def load(t: Triangles, f: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
    """int f phi_i, f given at each triangle's nodes and interpolated between them."""
    return torch.einsum("mq,qi,qj,mj->mi", t.measure, t.values, t.values, f)


def integral(t: Triangles, values: Float[Tensor, "m k"]) -> Float[Tensor, ""]:
    """int u, u given at each triangle's nodes."""
    return torch.einsum("mq,qi,mi->", t.measure, t.values, values)
