"""What a check is, and what comes out of one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sfm.errors import SfmError

Status = Literal["passed", "failed", "expected", "skipped"]


class CheckFailed(AssertionError):
    """A part does not keep the contract; the message says how."""


class Skipped(Exception):
    """The check does not apply to this part; the message says why."""


@dataclass(frozen=True)
class CheckResult:
    """One check of one part.

    Attributes:
        name: `molecules/atoms:rotation-float64`.
        status: `passed`; `failed`; `expected` (failed, and the plugin said so); `skipped`.
        detail: why it failed or was skipped; the measured figure where there is one.
        seconds: how long it took.
    """

    name: str
    status: Status
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """A named check: `run` returns a detail, or raises `CheckFailed` or `Skipped`."""

    part: str
    what: str
    run: Callable[[], str | None]

    @property
    def name(self) -> str:
        return f"{self.part}:{self.what}"


def ensure(condition: bool, message: str) -> None:
    """Raise `CheckFailed` unless `condition`."""
    if not condition:
        raise CheckFailed(message)


def perform(check: Check, expected: dict[str, str]) -> CheckResult:
    """Run one check.

    Args:
        check: the check.
        expected: reason by check name, for failures that the plugin declares; one that passes
            after all is a failure, so that the list stays true.
    """
    start = time.perf_counter()
    reason = expected.get(check.name)
    try:
        detail = check.run() or ""
        status: Status = "passed"
        if reason is not None:
            status = "failed"
            detail = f"passes, though the plugin expects it to fail ({reason}): remove that entry"
    except Skipped as skipped:
        status, detail = "skipped", str(skipped)
    except Exception as error:
        known = isinstance(error, (CheckFailed, SfmError))
        detail = str(error) if known else f"{type(error).__name__}: {error}"
        detail = " ".join(detail.split())[:500]
        status = "failed"
        if reason is not None:
            status, detail = "expected", f"{reason} ({detail})"
    return CheckResult(check.name, status, detail, time.perf_counter() - start)
