"""Order of samples: shares, budgets, determinism, exact restoring."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from sfm.data.mixing import Draw, Mixture, divide, shares
from sfm.errors import InputError


def take(mixture: Mixture, n: int) -> list[Draw]:
    return [mixture.take() for _ in range(n)]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_shares_follow_the_temperature(temperature):
    sizes = [50, 800, 4000]
    expected = [(n / sum(sizes)) ** (1 / temperature) for n in sizes]
    expected = [e / sum(expected) for e in expected]
    assert shares(sizes, temperature) == pytest.approx(expected)
    counts = Counter(d.task for d in take(Mixture(sizes, temperature=temperature), 5000))
    assert [counts[i] / 5000 for i in range(3)] == pytest.approx(expected, abs=1e-3)


def test_every_epoch_visits_every_sample_once_in_a_new_order():
    mixture = Mixture([7], seed=3)
    epochs = [[d.index for d in take(mixture, 7)] for _ in range(3)]
    assert all(sorted(e) == list(range(7)) for e in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_same_seed_same_order():
    first, second = (take(Mixture([30, 90], temperature=2, seed=5), 200) for _ in range(2))
    assert first == second
    assert take(Mixture([30, 90], temperature=2, seed=6), 200) != first


@pytest.mark.parametrize("n", [0, 1, 37, 250])
def test_the_state_is_json_and_restores_exactly(n):
    mixture = Mixture([30, 90, 7], temperature=2, seed=1)
    take(mixture, n)
    state = json.loads(json.dumps(mixture.state_dict()))
    ahead = take(mixture, 300)
    again = Mixture([30, 90, 7], temperature=2, seed=1)
    again.load_state_dict(state)
    assert take(again, 300) == ahead


def test_a_state_of_other_data_is_refused():
    with pytest.raises(InputError, match="samples and seed"):
        Mixture([30, 91]).load_state_dict(Mixture([30, 90]).state_dict())


def test_batches_keep_to_both_budgets_and_lose_nothing():
    cost = {0: (5, 40), 1: (16, 100)}
    mixture = Mixture([40, 20], temperature=1, seed=2)
    batches = [mixture.fill(lambda d: cost[d.task], 64, 330) for _ in range(30)]
    for batch in batches:
        assert sum(cost[d.task][0] for d in batch) <= 64
        assert sum(cost[d.task][1] for d in batch) <= 330
    drawn = [d for batch in batches for d in batch]
    assert drawn == take(Mixture([40, 20], temperature=1, seed=2), len(drawn))


def test_a_system_above_the_budget_comes_alone():
    mixture = Mixture([3], seed=0)
    assert len(mixture.fill(lambda d: (1000, 0), 10, 10)) == 1
    assert len(mixture.fill(lambda d: (1000, 0), 10, 10, at_least=2)) == 2


def test_ranks_get_disjoint_complete_balanced_shares():
    costs = [5.0, 9.0, 1.0, 1.0, 8.0, 3.0, 3.0]
    parts = divide(costs, 3)
    assert sorted(i for part in parts for i in part) == list(range(7))
    loads = [sum(costs[i] for i in part) for part in parts]
    assert max(loads) - min(loads) <= 3
    assert all(divide([0.0, 0.0, 0.0], 3))
