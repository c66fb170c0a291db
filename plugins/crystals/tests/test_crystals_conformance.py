"""The conformance kit over every part of the plugin."""

from __future__ import annotations

from sfm.testing.conformance import parametrize_checks


@parametrize_checks("crystals")
def test_conformance(check):
    check()
