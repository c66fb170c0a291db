"""Rotations and reflections acting on features, samples and outputs: for tests and conformance."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.nn.harmonics import matrix_basis
from sfm.nn.tensor_heads import turned_elastic


def random_rotation(generator: torch.Generator) -> Float[Tensor, "3 3"]:
    """(3, 3) float64 proper rotation, dimensionless, uniform (QR of a Gaussian matrix)."""
    q, r = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator))
    rotation: Tensor = q * torch.sign(torch.diagonal(r))
    return rotation if torch.det(rotation) > 0 else -rotation


def tensor_rotation(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "5 5"]:
    """(5, 5) how rank-2 tensors turn under the (3, 3) orthogonal matrix; dimensionless."""
    basis = matrix_basis(rotation)
    return torch.einsum("kij,ia,jb,lab->kl", basis, rotation, rotation, basis)


def rotate_tokens(tokens: Tokens, rotation: Float[Tensor, "3 3"]) -> Tokens:
    """Tokens of the system turned by (3, 3), dimensionless. Extras are left alone."""
    turn = rotation.to(tokens.positions)
    return tokens.replace(
        positions=tokens.positions @ turn.T,
        cell=tokens.cell @ turn.T,
        vectors=torch.einsum("ij,njc->nic", turn, tokens.vectors),
        tensors=torch.einsum("ij,njc->nic", tensor_rotation(turn), tokens.tensors),
    )


def rotate_value(
    value: Float[Tensor, "*shape"], rotation: Float[Tensor, "3 3"]
) -> Float[Tensor, "*shape"]:
    """A Cartesian value: (..., 3, 3) matrices and (..., 3) vectors turn, and so do (..., 6, 6).

    The last are elastic constants in Voigt's order; scalars do not turn.

    The caller says which it is through the last axes: `(rows,)` is a scalar. Units stay.
    """
    turn = rotation.to(value)
    if value.ndim >= 3 and value.shape[-2:] == (3, 3):
        return turn @ value @ turn.T
    if value.ndim >= 3 and value.shape[-2:] == (6, 6):
        return turned_elastic(value, rotation)
    if value.ndim >= 2 and value.shape[-1] == 3:
        return value @ turn.T
    return value


def point_symmetries(
    generator: torch.Generator,
) -> Iterator[tuple[str, Callable[[Sample], Sample], Callable[[str, Tensor], Tensor]]]:
    """Rotation, reflection and translation of samples made of points.

    Outputs may have any shape and unit, see `rotate_value`.
    """
    rotation = random_rotation(generator)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    shift = torch.randn(3, dtype=torch.float64, generator=generator)

    def turned(by: Tensor) -> Callable[[Sample], Sample]:
        matrix = by.numpy()

        def move(sample: Sample) -> Sample:
            cell = None if sample.cell is None else sample.cell @ matrix.T
            return sample.replace(positions=sample.positions @ matrix.T, cell=cell)

        return move

    yield "rotation", turned(rotation), lambda _, value: rotate_value(value, rotation)
    improper = rotation @ mirror
    yield "reflection", turned(improper), lambda _, value: rotate_value(value, improper)
    yield (
        "translation",
        lambda s: s.replace(positions=s.positions + shift.numpy()),
        lambda _, value: value,
    )
