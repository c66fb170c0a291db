"""Small vibrations of an open system around a place of rest.

    D = m^-1/2 H m^-1/2 within the directions that neither translate nor turn,   w_k^2 = eig(D)

E. B. Wilson, J. C. Decius, P. C. Cross, Molecular Vibrations (1955). The directions are taken as
constants by derivatives: at a place of rest D has no component along rigid motions, so how they
change does not matter to first order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfm.constants import ACCELERATION, LIGHT
from sfm.progress import report
from sfm.simulate.statics.rigid_motions import internal_directions

WAVENUMBER = ACCELERATION**0.5 / (2 * math.pi * LIGHT)  # cm^-1 of sqrt(eV / angstrom^2 / amu)
THZ_OF_WAVENUMBER = 1e3 * LIGHT  # THz of 1 cm^-1


def hessian(
    energy: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " S"]],
    positions: Float[Tensor, "n 3"],
    *,
    where: str = "vibrations",
) -> Float[Tensor, "coordinates coordinates"]:
    """(3 n, 3 n) eV/angstrom^2: one Hessian-vector product after another.

    Differentiable where gradients are recorded.

    Args:
        energy: (S,) eV of positions (n, 3) angstrom, one system or more; twice differentiable.
        positions: (n, 3) angstrom, where.
        where: for messages of progress.
    """
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        moved = torch.zeros_like(positions, requires_grad=True)
        (slope,) = torch.autograd.grad(energy(positions + moved).sum(), moved, create_graph=True)
        rows = []
        for k, one in enumerate(slope.flatten()):
            report(f"{where}: coordinate", k, slope.numel())
            (row,) = torch.autograd.grad(
                one, moved, retain_graph=True, create_graph=keep, materialize_grads=True
            )
            rows.append(row.flatten())
    matrix = torch.stack(rows)
    matrix = matrix if keep else matrix.detach()
    return 0.5 * (matrix + matrix.mT)


def normal_modes(
    hessian: Float[Tensor, "coordinates coordinates"],
    positions: Float[Tensor, "n 3"],
    masses: Float[Tensor, " n"],
    free: Bool[Tensor, "n 3"] | None = None,
) -> tuple[Float[Tensor, " K"], Float[Tensor, "K n 3"]]:
    """Squares of the K frequencies, ascending, and modes (K, n, 3) per sqrt(amu).

    Squares (K,) are in the unit of the Hessian per amu and differentiable; modes carry no gradient,
    for those of equal frequency are not determined.

    Args:
        hessian: (3 n, 3 n) energy per length^2.
        positions: (n, 3) in any length. masses: (n,) amu.
        free: (n, 3) false for coordinates that are fixed.
    """
    scale = masses.rsqrt().repeat_interleave(3)
    weighted = scale[:, None] * hessian * scale
    inner = internal_directions(positions, masses, free)
    squares, vectors = torch.linalg.eigh(inner.mT @ weighted @ inner)
    modes = (inner @ vectors.detach()).mT * scale.detach()
    return squares, modes.view(len(squares), -1, 3)


def signed_root(squares: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """(K,) roots in the unit's root, negative where the square is: of an imaginary frequency.

    Differentiable but for zero, which counts as constant.
    """
    moves = squares != 0
    roots = torch.where(moves, squares.abs(), 1.0).sqrt()
    return torch.where(moves, squares.sign() * roots, 0.0)
