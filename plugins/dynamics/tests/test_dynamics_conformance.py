"""The plugin keeps the contract."""

from __future__ import annotations

from sfm.testing.conformance import parametrize_checks


@parametrize_checks("dynamics")
def test_conformance(check):
    check()
