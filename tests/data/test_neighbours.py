"""Neighbour lists against a plain loop over images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sfm.data.neighbours import half_neighbour_list, neighbour_list
from sfm.errors import InputError


def loop(x, cutoff, cell, pbc):
    """All ordered pairs, one after another."""
    pairs = set()
    cell = np.eye(3) if cell is None else cell
    ranges = [range(-4, 5) if p else range(1) for p in pbc]
    for shift in itertools.product(*ranges):
        offset = np.array(shift) @ cell
        for i, j in itertools.product(range(len(x)), repeat=2):
            d = np.linalg.norm(x[j] + offset - x[i])
            if d < cutoff and not (i == j and not any(shift)):
                pairs.add((j, i, *shift))
    return pairs


CELL = np.array([[3.0, 0, 0], [0.9, 2.7, 0], [0.2, -0.4, 3.3]])


@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 1, 1), (1, 0, 1)])
def test_it_equals_the_loop(pbc):
    rng = np.random.default_rng(0)
    x = rng.random((5, 3)) @ CELL
    edges, shifts = neighbour_list(x, 3.1, CELL, np.array(pbc, dtype=bool))
    pairs = {(j, i, *s) for j, i, s in zip(*edges, map(tuple, shifts), strict=True)}
    assert len(pairs) == edges.shape[1]
    assert pairs == loop(x, 3.1, CELL, pbc)


@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 1, 1), (1, 0, 1)])
def test_half_of_it_has_one_of_each_two_opposite_pairs_in_a_fixed_order(pbc):
    rng = np.random.default_rng(0)
    x = rng.random((5, 3)) @ CELL
    (first, second), shifts = half_neighbour_list(x, 3.1, CELL, np.array(pbc, dtype=bool))
    rows = [(i, j, *s) for i, j, s in zip(first, second, map(tuple, shifts), strict=True)]
    assert rows == sorted(rows, key=lambda row: (row[1] - row[0], row[0], *row[2:]))
    assert all(i < j or (i == j and tuple(s) > (0, 0, 0)) for i, j, *s in rows)
    opposite = {(j, i, *(-k for k in s)) for i, j, *s in rows}
    assert {*rows, *opposite} == {(i, j, *s) for j, i, *s in loop(x, 3.1, CELL, pbc)}
    assert not opposite & {*rows}


def test_atoms_outside_the_cell_have_the_same_distances():
    rng = np.random.default_rng(1)
    x = rng.random((4, 3)) @ CELL
    far = x + np.array([[0, 0, 0], [2, 0, -1], [0, 3, 0], [-1, -1, -1]]) @ CELL
    lengths = []
    for points in (x, far):
        edges, shifts = neighbour_list(points, 3.0, CELL, True)
        vectors = points[edges[0]] + shifts @ CELL - points[edges[1]]
        lengths.append(np.sort(np.linalg.norm(vectors, axis=1)))
    np.testing.assert_allclose(*lengths, atol=1e-12)


def test_edges_are_sorted_by_receiver_then_sender():
    x = np.random.default_rng(2).random((8, 3)) * 4
    (sender, receiver), _ = neighbour_list(x, 3.0)
    keys = list(zip(receiver, sender, strict=True))
    assert keys == sorted(keys)


@pytest.mark.parametrize("n", [0, 1])
def test_none_and_one(n):
    edges, shifts = neighbour_list(np.zeros((n, 3)), 3.0)
    assert edges.shape == (2, 0)
    assert shifts.shape == (0, 3)


@pytest.mark.parametrize("far", [2e3, 1.5e6, 1e8])
@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 1, 0), (0, 0, 1)])
def test_clusters_far_apart_have_the_pairs_of_each(far, pbc):
    """vesin kills the process at 1e6; what lies apart along an open axis is found all the same."""
    rng = np.random.default_rng(3)
    x = rng.random((6, 3)) @ CELL
    box, pbc = np.diag([6.0, 6.0, 6.0]), np.array(pbc, dtype=bool)
    away = np.zeros(3)
    away[int(np.argmin(pbc))] = far
    edges, _ = neighbour_list(np.concatenate([x, x + away]), 2.5, box, pbc)
    one, _ = neighbour_list(x, 2.5, box, pbc)
    first = edges[:, edges[0] < 6]
    np.testing.assert_array_equal(first, one)
    assert (edges[0] < 6).tolist() == (edges[1] < 6).tolist()
    if far < 1e6:  # beyond, the copy's own digits are lost
        assert edges.shape[1] == 2 * one.shape[1]


def test_what_cannot_be_finished_is_refused():
    crowd = np.random.default_rng(0).uniform(0, 3, (30_000, 3))
    with pytest.raises(InputError, match="pairs of atoms lie within 5"):
        neighbour_list(crowd, 5.0)
    with pytest.raises(InputError, match="pairs of atoms"):
        neighbour_list(crowd, 5.0, np.diag([1e4] * 3), True)
    with pytest.raises(InputError, match=r"cell is 1e-05 thin"):
        neighbour_list(crowd[:3], 5.0, np.diag([1e-5, 3, 3]), True)
    with pytest.raises(InputError, match=r"cell is 1e\+12 thick"):
        neighbour_list(crowd[:3], 5.0, np.diag([1e12, 3, 3]), True)
    with pytest.raises(InputError, match="wrap the coordinates"):
        neighbour_list(np.array([[0, 0, 0], [0, 0, 1e15]]), 5.0, np.diag([9.0] * 3), True)
