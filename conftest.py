"""Fixtures of all tests: none; functions that state shapes are checked when they are called."""

from __future__ import annotations

import shape_checks

shape_checks.install()


def pytest_runtest_setup() -> None:
    """Every test checks the first calls of a function anew."""
    shape_checks.begin_test()
