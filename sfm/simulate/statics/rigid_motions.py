"""How an open system moves without changing its energy, and the directions that are left.

E. B. Wilson, J. C. Decius, P. C. Cross, Molecular Vibrations (1955): translations and rotations in
mass-weighted coordinates.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALL = 1e-6  # relative: a rotation that moves no atom, as that about a linear molecule's axis


@torch.no_grad()
def rigid_motions(
    positions: Float[Tensor, "n 3"],
    weights: Float[Tensor, " n"],
    free: Bool[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "coordinates k"]:
    """Orthonormal directions (3 n, k) that translate or turn one system: at most six.

    Args:
        positions: (n, 3) angstrom, or any length.
        weights: (n,) of the atoms: masses in amu for mass-weighted coordinates, else ones.
        free: (n, 3) false for coordinates that are fixed: only what leaves them is counted. None:
            all are free.
    """
    root = weights.sqrt()[:, None]
    centred = positions - (weights @ positions) / weights.sum()
    axes = torch.eye(3, dtype=positions.dtype, device=positions.device)
    columns = [root * axis for axis in axes]
    columns += [root * torch.linalg.cross(axis.expand_as(centred), centred) for axis in axes]
    rigid = torch.stack([column.flatten() for column in columns], 1)
    scale = torch.linalg.matrix_norm(rigid, 2)
    if free is not None and not bool(free.all()):
        _, sizes, right = torch.linalg.svd(rigid[~free.flatten()])
        rigid = rigid @ right[int((sizes > SMALL * scale).sum()) :].mT
    left, sizes, _ = torch.linalg.svd(rigid, full_matrices=False)
    directions: Tensor = left[:, : int((sizes > SMALL * scale).sum())]
    return directions


@torch.no_grad()
def internal_directions(
    positions: Float[Tensor, "n 3"],
    masses: Float[Tensor, " n"],
    free: Bool[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "coordinates k"]:
    """Orthonormal mass-weighted directions (3 n, k) that neither translate nor turn the system.

    Args:
        positions: (n, 3) angstrom, or any length. masses: (n,) amu.
        free: (n, 3) false for coordinates that are fixed, in which nothing vibrates.
    """
    other = rigid_motions(positions, masses, free)
    if free is not None:
        identity = torch.eye(positions.numel(), dtype=other.dtype, device=other.device)
        other = torch.cat([other, identity[:, ~free.flatten()]], 1)
    basis: Tensor = torch.linalg.qr(other, mode="complete").Q
    return basis[:, other.shape[1] :]
