"""Values of the density basis on atoms as irreps: scalars, vectors and tensors, and their turns.

Units stay what they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.nn.symmetry import tensor_rotation
from sfm_dft.basis.density_basis import COUNTS


def split_irreps(
    values: Float[Tensor, "N 45"],
) -> tuple[Float[Tensor, "N 10"], Float[Tensor, "N 3 5"], Float[Tensor, "N 5 4"]]:
    """(N, 45) in e3nn's order -> scalars (N, 10), vectors (N, 3, 5), tensors (N, 5, 4)."""
    s, p, d = COUNTS
    scalars, vectors, tensors = values.split([s, 3 * p, 5 * d], dim=-1)
    return (
        scalars,
        vectors.reshape(-1, p, 3).transpose(1, 2),
        tensors.reshape(-1, d, 5).transpose(1, 2),
    )


def join_irreps(
    scalars: Float[Tensor, "N 10"], vectors: Float[Tensor, "N 3 5"], tensors: Float[Tensor, "N 5 4"]
) -> Float[Tensor, "N 45"]:
    """(N, 45), the inverse of `split_irreps`."""
    rows = len(scalars)
    flat = [x.transpose(1, 2).reshape(rows, -1) for x in (vectors, tensors)]
    return torch.cat([scalars, *flat], dim=-1)


def rotate_irreps(
    values: Float[Tensor, "N 45"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "N 45"]:
    """(N, 45) of the turned system; `rotation` is (3, 3) orthogonal."""
    scalars, vectors, tensors = split_irreps(values)
    turn = rotation.to(values)
    return join_irreps(
        scalars,
        torch.einsum("ij,njc->nic", turn, vectors),
        torch.einsum("ij,njc->nic", tensor_rotation(turn), tensors),
    )
