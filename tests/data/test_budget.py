"""Filling batches to a budget."""

from __future__ import annotations

from sfm.data.budget import Budget, filled


def test_lists_keep_to_both_budgets_and_to_the_order():
    costs = [(3, 1), (4, 1), (5, 9), (20, 0), (1, 1), (1, 1)]
    lists = list(filled(costs, lambda cost: cost, tokens=8, edges=10))
    assert lists == [costs[:2], costs[2:3], costs[3:4], costs[4:]]
    assert list(filled(costs, lambda cost: cost, tokens=12, edges=2)) == [
        costs[:2], costs[2:3], costs[3:4], costs[4:]
    ]  # fmt: skip
    assert list(filled([], len, tokens=1)) == []


def test_items_are_taken_as_their_lists_are_asked_for():
    taken = []

    def items():
        for n in (5, 5, 5):
            taken.append(n)
            yield n

    first = next(filled(items(), lambda n: (n, 0), tokens=9))
    assert (first, taken) == ([5], [5, 5])


def test_a_budget_counts_what_does_not_fit_too():
    budget = Budget(tokens=10)
    budget.take((12, 1000))
    assert budget.used == (12, 1000)
    assert not budget.fits((0, 0))
