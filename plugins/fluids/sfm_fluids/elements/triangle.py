"""Shape functions and quadrature on the reference triangle (0, 0), (1, 0), (0, 1).

Nodes are the corners, then the midpoints of the edges 01, 12, 20. Quadrature weights sum to 1.

Sources: P. G. Ciarlet, The Finite Element Method for Elliptic Problems (North-Holland, 1978),
section 2.2; D. A. Dunavant, Int. J. Numer. Methods Eng. 21, 1129 (1985), the rule of degree 4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

A, WEIGHT_A = 0.445948490915965, 0.223381589678011
B, WEIGHT_B = 0.091576213509771, 0.109951743655322


class Shapes(NamedTuple):
    """At q points: values (q, k), gradients (q, k, 2) in reference coordinates, weights (q,)."""

    values: Float[Tensor, "q k"]
    gradients: Float[Tensor, "q k 2"]
    weights: Float[Tensor, " q"]


def quadrature() -> tuple[Float[Tensor, "6 2"], Float[Tensor, " 6"]]:
    """Points and weights, exact to degree 4."""
    points = [p for a in (A, B) for p in ((a, a), (1 - 2 * a, a), (a, 1 - 2 * a))]
    weights = [WEIGHT_A] * 3 + [WEIGHT_B] * 3
    return torch.tensor(points, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what is kept must serve training too
def shapes(degree: int) -> Shapes:
    """Of degree 1 or 2, at the quadrature points."""
    points, weights = quadrature()
    x, y = points.unbind(1)
    z = 1 - x - y
    corner = torch.stack((z, x, y), -1)
    slope = torch.tensor([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    slopes = slope.expand(len(x), 3, 2)
    if degree == 1:
        return Shapes(corner, slopes, weights)
    following, along = corner.roll(-1, 1), slopes.roll(-1, 1)
    values = torch.cat((corner * (2 * corner - 1), 4 * corner * following), 1)
    first = (4 * corner - 1)[..., None] * slopes
    second = 4 * (corner[..., None] * along + following[..., None] * slopes)
    return Shapes(values, torch.cat((first, second), 1), weights)
