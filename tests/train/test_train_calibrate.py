"""Held-out systems in folds that keep groups together."""

from __future__ import annotations

from sfm.data.sample import Sample
from sfm.train.calibrate import folds_of_groups


def samples(groups):
    return [Sample(id=f"s{i}", domain="molecules", group=g) for i, g in enumerate(groups)]


def test_groups_stay_together_and_folds_are_about_equal():
    folds = folds_of_groups(samples(["a"] * 6 + ["b"] * 3 + ["c", "d", "e"]), 2)
    assert [len(fold) for fold in folds] == [6, 6]
    groups = [{s.group for s in fold} for fold in folds]
    assert groups[0].isdisjoint(groups[1])
    assert len(folds_of_groups(samples(["a", "b"] * 5), 5)) == 2


def test_systems_are_their_own_groups_where_none_has_a_name_or_all_are_of_one():
    for group in (None, "a"):
        folds = folds_of_groups(samples([group] * 12), 5)
        assert sorted(len(fold) for fold in folds) == [2, 2, 2, 3, 3]
