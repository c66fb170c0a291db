"""Fixtures of all tests: none; modules that state shapes are checked in every call."""

from __future__ import annotations

import shape_checks

shape_checks.install()
