"""Internal coordinates of atoms that are bonded, for every force field of bonds.

Cosines are formed rather than angles, so that values and all derivatives stay finite for planar and
linear arrangements.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FLAT = 1e-12  # product of squared areas, angstrom^8, below which a dihedral angle has no meaning


def length(vectors: Float[Tensor, "m 3"]) -> Float[Tensor, " m"]:
    """(m,) lengths of vectors (m, 3), angstrom."""
    size: Tensor = vectors.square().sum(-1).sqrt()
    return size


def angle_cosine(x: Float[Tensor, "m 3 3"]) -> Float[Tensor, " m"]:
    """(m,) cosine of the angle at the second of three atoms x, (m, 3, 3) angstrom."""
    first, second = x[:, 0] - x[:, 1], x[:, 2] - x[:, 1]
    cosine: Tensor = (first * second).sum(-1) / (length(first) * length(second))
    return cosine.clamp(-1, 1)


def dihedral_cosine(
    x: Float[Tensor, "m 4 3"],
) -> tuple[Float[Tensor, " m"], Bool[Tensor, " m"]]:
    """(m,) cosine of the dihedral angle of four atoms x, (m, 4, 3) angstrom, and whether there is
    one: not where three of the atoms are on a line."""
    axis = x[:, 2] - x[:, 1]
    first = torch.linalg.cross(x[:, 0] - x[:, 1], axis)
    second = torch.linalg.cross(-axis, x[:, 3] - x[:, 2])
    size = first.square().sum(-1) * second.square().sum(-1)
    defined = size > FLAT
    safe = torch.where(defined, size, torch.ones_like(size))
    return ((first * second).sum(-1) / safe.sqrt()).clamp(-1, 1), defined


def height(x: Float[Tensor, "m 4 3"]) -> Float[Tensor, " m"]:
    """(m,) sine of the angle of the bond to the fourth atom with the plane of the other three.

    x: (m, 4, 3) angstrom, the second atom is the centre.
    """
    first, second, out = (x[:, i] - x[:, 1] for i in (0, 2, 3))
    normal = torch.linalg.cross(first, second)
    size = normal.square().sum(-1) * out.square().sum(-1)
    safe = torch.where(size > FLAT, size, torch.ones_like(size))
    sine: Tensor = (normal * out).sum(-1) / safe.sqrt()
    return sine.clamp(-1, 1)
