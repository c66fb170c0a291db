"""Spherical harmonics and rank-2 tensors against e3nn."""

from __future__ import annotations

import torch

from sfm.nn.harmonics import from_matrix, matrix_basis, spherical_harmonics, to_matrix
from sfm.nn.symmetry import random_rotation, tensor_rotation


def directions(n: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True)


def test_harmonics_equal_e3nn(e3nn_o3):
    x = directions()
    reference = e3nn_o3.spherical_harmonics([0, 1, 2], x, True, "component")
    # e3nn keeps its constants in float32
    torch.testing.assert_close(spherical_harmonics(x), reference, rtol=0, atol=1e-6)


def test_tensor_rotation_equals_wigner_d(e3nn_o3):
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        turn = random_rotation(generator)
        reference = e3nn_o3.Irrep("2e").D_from_matrix(turn)
        torch.testing.assert_close(tensor_rotation(turn), reference, rtol=0, atol=1e-6)
        torch.testing.assert_close(tensor_rotation(-turn), tensor_rotation(turn))


def test_rank_two_harmonics_turn_with_tensor_rotation():
    generator = torch.Generator().manual_seed(2)
    turn, x = random_rotation(generator), directions()
    turned = spherical_harmonics(x @ turn.T)[:, 4:]
    rotated = spherical_harmonics(x)[:, 4:] @ tensor_rotation(turn).T
    torch.testing.assert_close(turned, rotated, rtol=0, atol=1e-13)


def test_matrices_and_components_are_inverse_and_keep_the_norm():
    generator = torch.Generator().manual_seed(3)
    t = torch.randn(7, 5, 4, generator=generator, dtype=torch.float64)
    m = to_matrix(t)
    torch.testing.assert_close(m, m.transpose(1, 2))
    assert torch.einsum("niic->nc", m).abs().max() < 1e-14
    torch.testing.assert_close(from_matrix(m), t)
    torch.testing.assert_close(m.square().sum((1, 2)), t.square().sum(1))


def test_the_basis_is_orthonormal():
    b = matrix_basis(torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(torch.einsum("kij,lij->kl", b, b), torch.eye(5, dtype=torch.float64))


def test_random_rotations_are_proper():
    generator = torch.Generator().manual_seed(4)
    for _ in range(10):
        r = random_rotation(generator)
        torch.testing.assert_close(r @ r.T, torch.eye(3, dtype=torch.float64))
        assert abs(torch.det(r).item() - 1) < 1e-12
