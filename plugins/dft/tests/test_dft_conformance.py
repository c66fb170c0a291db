"""The core's conformance kit on every part of this plugin."""

from __future__ import annotations

from sfm.testing.conformance import parametrize_checks


@parametrize_checks("dft")
def test_conformance(check):
    check()
