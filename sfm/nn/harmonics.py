"""Real spherical harmonics up to l=2, and symmetric traceless matrices in the same basis.

Component order and 'component' normalisation are those of e3nn (`o3.spherical_harmonics(...,
normalize=True, normalization="component")`), against which the tests hold them: l=1 is x, y, z;
l=2 is xz, xy, y^2 - (x^2 + z^2) / 2, yz, (z^2 - x^2) / 2, each with its factor.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

_R3, _R5, _R15 = math.sqrt(3), math.sqrt(5), math.sqrt(15)


def spherical_harmonics(directions: Float[Tensor, "E 3"]) -> Float[Tensor, "E 9"]:
    """(E, 3) unit vectors, dimensionless -> (E, 9): l = 0, 1, 2."""
    x, y, z = directions.unbind(-1)
    return torch.stack(
        [
            torch.ones_like(x),
            _R3 * x,
            _R3 * y,
            _R3 * z,
            _R15 * x * z,
            _R15 * x * y,
            _R5 * (y * y - 0.5 * (x * x + z * z)),
            _R15 * y * z,
            0.5 * _R15 * (z * z - x * x),
        ],
        dim=-1,
    )


@cache
def _basis_rows() -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Five orthonormal symmetric traceless matrices, in e3nn's order."""
    h, s = 1 / math.sqrt(2), 1 / math.sqrt(6)
    return (
        ((0, 0, h), (0, 0, 0), (h, 0, 0)),
        ((0, h, 0), (h, 0, 0), (0, 0, 0)),
        ((-s, 0, 0), (0, 2 * s, 0), (0, 0, -s)),
        ((0, 0, 0), (0, 0, h), (0, h, 0)),
        ((-h, 0, 0), (0, 0, 0), (0, 0, h)),
    )


def matrix_basis(like: Float[Tensor, " ..."]) -> Float[Tensor, "5 3 3"]:
    """(5, 3, 3) orthonormal symmetric traceless matrices without unit; on the device of `like`."""
    return torch.tensor(_basis_rows(), dtype=like.dtype, device=like.device)


def to_matrix(tensors: Float[Tensor, "*rows 5 C"]) -> Float[Tensor, "*rows 3 3 C"]:
    """(..., 5, C) -> (..., 3, 3, C), symmetric and traceless; keeps norm and unit."""
    return torch.einsum("kij,...kc->...ijc", matrix_basis(tensors), tensors)


def from_matrix(matrices: Float[Tensor, "*rows 3 3 C"]) -> Float[Tensor, "*rows 5 C"]:
    """(..., 3, 3, C) -> (..., 5, C): the symmetric traceless part; keeps its norm and unit."""
    return torch.einsum("kij,...ijc->...kc", matrix_basis(matrices), matrices)


def _product_table() -> tuple[tuple[tuple[int, ...], ...], Tensor]:
    """Pairs (i, j) of the 8 components of (vector, tensor), and their (13, pairs) coefficients."""
    basis = torch.tensor(_basis_rows(), dtype=torch.float64, device="cpu")
    full = basis.new_zeros(13, 8, 8)
    full[0:3, 3:, :3] = basis.transpose(0, 1)  # T v
    full[3:8, :3, :3] = basis  # v v^T
    full[8:13, 3:, 3:] = torch.einsum("kil,aij,bjl->kab", basis, basis, basis)  # T T
    full = torch.tril(full + full.mT, -1) + torch.diag_embed(full.diagonal(dim1=1, dim2=2))
    pairs = [(i, j) for i in range(8) for j in range(i + 1) if full[:, i, j].abs().max() > 1e-12]
    i, j = zip(*pairs, strict=True)
    return (i, j), full[:, i, j]


@cache
@torch.inference_mode(False)  # what is kept must serve training too
def _products_like(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    (i, j), table = _product_table()
    return torch.tensor(i, device=device), torch.tensor(j, device=device), table.to(device, dtype)


def products(
    vectors: Float[Tensor, "3 N C"], tensors: Float[Tensor, "5 N C"]
) -> tuple[Float[Tensor, "3 N C"], Float[Tensor, "5 N C"], Float[Tensor, "5 N C"]]:
    """(3, N, C) v and (5, N, C) T -> T v (3, N, C), v v^T (5, N, C), T T (5, N, C).

    Channel by channel, T as a symmetric matrix; of the last two the symmetric traceless part. Each
    pair of components is multiplied once, then one constant matrix takes all pairs to all products.
    Features of the trunk are dimensionless.
    """
    i, j, table = _products_like(tensors.dtype, tensors.device)
    both = torch.cat([vectors, tensors])
    pairs = both.index_select(0, i) * both.index_select(0, j)
    out = (table @ pairs.flatten(1)).view(13, *both.shape[1:])
    vector, product, coupled = out.split([3, 5, 5])
    return vector, product, coupled
