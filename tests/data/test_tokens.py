"""Tokens: batches are concatenations."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sfm.data.tokens import Tokens, system_sum


def one(n: int, seed: int = 0, **extras) -> Tokens:
    g = torch.Generator().manual_seed(seed)
    edges = torch.tensor([[1, 0], [0, 1]]) if n > 1 else torch.zeros(2, 0, dtype=torch.long)
    return Tokens.make(
        positions=torch.randn(n, 3, generator=g, dtype=torch.float64),
        types=torch.arange(n),
        edges=edges,
        cutoff=2.0,
        scalars=torch.randn(n, 2, generator=g, dtype=torch.float64),
        conditions=torch.tensor([float(seed)]),
        extras=extras,
        id=f"s{seed}",
    )


def test_cat_moves_edges_and_systems():
    batch = Tokens.cat([one(3, 0), one(1, 1), one(2, 2)])
    assert (batch.n_tokens, batch.n_systems, batch.n_edges) == (6, 3, 4)
    assert batch.system.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.edges.tolist() == [[1, 0, 5, 4], [0, 1, 4, 5]]
    assert batch.counts().tolist() == [3, 1, 2]
    assert batch.ids == ("s0", "s1", "s2")
    assert batch.conditions.flatten().tolist() == [0.0, 1.0, 2.0]


def test_a_batch_of_points_is_the_concatenation_of_its_systems():
    joined = Tokens.cat([one(3, 0), one(2, 1)])
    batch = Tokens.points(
        positions=joined.positions,
        types=joined.types,
        system=joined.system,
        n_systems=2,
        edges=joined.edges,
        cutoff=2.0,
        scalars=joined.scalars,
        conditions=joined.conditions,
        ids=("s0", "s1"),
    )
    for field in dataclasses.fields(Tokens):
        a, b = getattr(batch, field.name), getattr(joined, field.name)
        if isinstance(b, torch.Tensor):
            assert torch.equal(a, b), field.name
            assert a.dtype == b.dtype, field.name
        else:
            assert a == b, field.name


def test_extras_that_all_have_survive():
    a, b = one(2, 0, k=torch.zeros(2), m=torch.zeros(2)), one(2, 1, k=torch.ones(2))
    assert set(Tokens.cat([a, b]).extras) == {"k"}


def test_moving_casts_floats_only():
    batch = one(2, 0, k=torch.zeros(2, dtype=torch.int8)).to(dtype=torch.float32)
    assert batch.positions.dtype == torch.float32
    assert batch.types.dtype == torch.int64
    assert batch.extras["k"].dtype == torch.int8


def test_edge_vectors_go_from_receiver_to_the_senders_image():
    t = one(2)
    cell = torch.diag(torch.tensor([5.0, 6.0, 7.0], dtype=torch.float64)).unsqueeze(0)
    t = t.replace(cell=cell, shifts=torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64))
    vector = t.positions[1] + torch.tensor([5.0, 0, 0]) - t.positions[0]
    torch.testing.assert_close(t.edge_vectors()[0], vector)
    torch.testing.assert_close(t.edge_vectors()[1], -vector)


def test_it_is_immutable_and_nothing_cannot_be_concatenated():
    with pytest.raises(dataclasses.FrozenInstanceError):
        one(1).positions = torch.zeros(1, 3)
    with pytest.raises(ValueError, match="zero batches"):
        Tokens.cat([])


def test_system_sum():
    values = torch.tensor([1.0, 2.0, 4.0])
    assert system_sum(values, torch.tensor([0, 0, 2]), 3).tolist() == [3.0, 0.0, 4.0]
