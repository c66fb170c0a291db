"""A uniform grid on a line: the kinetic operator by finite differences, and who repels whom.

The wave function is zero beyond both ends. Interactions: exponential, A exp(-|x| / range), which
mimics what three-dimensional Coulomb forces do in one dimension, and soft Coulomb,
1 / sqrt(x^2 + a^2).

Reference: Baker, Stoudenmire, Wagner, Burke, White, Phys. Rev. B 91, 235141 (2015).

Atomic units (hartree, bohr).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError

AMPLITUDE = 1.071295
RANGE = 2.385345
# second derivative: offset 0, 1, 2, 3 ... in units of 1 / dx^2 (Fornberg, Math. Comp. 51, 699)
STENCILS = {
    2: (-2.0, 1.0),
    4: (-5.0 / 2.0, 4.0 / 3.0, -1.0 / 12.0),
    6: (-49.0 / 18.0, 3.0 / 2.0, -3.0 / 20.0, 1.0 / 90.0),
}


def points(size: int, dx: float) -> Float[Tensor, " {size}"]:
    """(size,) grid points in bohr, symmetric about 0; 0 is one of them if `size` is odd."""
    return (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * dx


def kinetic_bands(size: int, dx: float, order: int) -> Float[Tensor, "_ {size}"]:
    """(b, n) -1/2 d^2/dx^2 at n = size points: row k is the k-th subdiagonal, padded at its end.

    b is 1 + order / 2 (B. Fornberg, Math. Comput. 51, 699, 1988).

    Raises:
        InputError: `order` is not 2, 4 or 6.
    """
    if order not in STENCILS:
        raise InputError(f"finite differences of order {order}: there are 2, 4 and 6")
    stencil = STENCILS[order]
    bands = torch.zeros(len(stencil), size, dtype=torch.float64)
    for offset, value in enumerate(stencil):
        bands[offset, : size - offset] = -0.5 * value / dx**2
    return bands


def kinetic_matrix(size: int, dx: float, order: int) -> Float[Tensor, "{size} {size}"]:
    """(n, n) the same as a dense matrix."""
    bands = kinetic_bands(size, dx, order)
    full = torch.diag(bands[0])
    for offset in range(1, len(bands)):
        side = torch.diag(bands[offset, : size - offset], -offset)
        full = full + side + side.mT
    return full


def exponential(
    distance: Float[Tensor, "*shape"],
    amplitude: Float[Tensor, ""] | float,
    length: Float[Tensor, ""] | float,
) -> Float[Tensor, "*shape"]:
    """A exp(-|x| / length), hartree, of the shape of x."""
    return amplitude * torch.exp(-distance.abs() / length)


def soft_coulomb(
    distance: Float[Tensor, "*shape"],
    amplitude: Float[Tensor, ""] | float,
    softening: Float[Tensor, ""] | float,
) -> Float[Tensor, "*shape"]:
    """A / sqrt(x^2 + softening^2), hartree, of the shape of x."""
    return amplitude / torch.sqrt(distance**2 + softening**2)


INTERACTIONS = {"exponential": exponential, "soft-coulomb": soft_coulomb}
