"""One bad row of a file of many: named, or left out and listed.

A reader puts the work on one row (a line, a record, a frame) under `row(where)`. What is wrong
there is a `RowError`; inside `collecting(skipped)` it is put on the list instead, and the reader
goes on to the next row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from sfm.errors import InputError, RunError, WrongDomain

HINT = "--skip-errors leaves such rows out"


class RowError(InputError):
    """One row of a file, or one system of a list, cannot be used."""


@dataclass
class Skipped:
    """Rows that were left out.

    Attributes:
        limit: at most so many; one more is an error. None: any number.
        rows: one line for each, with file and row.
        others: whether rows of another domain are left out, too.
    """

    limit: int | None = None
    rows: list[str] = field(default_factory=list)
    others: bool = False

    def add(self, error: InputError) -> None:
        """Note a row.

        Raises:
            InputError: there are more than `limit`.
        """
        self.rows.append(str(error))
        if self.limit is not None and len(self.rows) > self.limit:
            raise InputError(
                f"{error}; {len(self.rows)} bad rows, at most {self.limit} are allowed"
            )

    def summary(self) -> str:
        """One line, or an empty string."""
        n = len(self.rows)
        return f"{n} row{'s' if n > 1 else ''} left out: {'; '.join(self.rows)}" if n else ""


_active: ContextVar[Skipped | None] = ContextVar("skipped rows", default=None)


@contextmanager
def collecting(skipped: Skipped | None) -> Iterator[None]:
    """Within it, bad rows go to `skipped`; with None they raise."""
    token = _active.set(skipped)
    try:
        yield
    finally:
        _active.reset(token)


def rows_left_out() -> Skipped | None:
    """The list that is being filled, if any."""
    return _active.get()


@contextmanager
def row(where: str = "") -> Iterator[None]:
    """Work on one row; `where` names it.

    Raises:
        RowError: the row cannot be used and nobody collects such rows. Of a kind of `InputError`
            the kind stays.
    """
    prefix = f"{where}: " if where else ""
    try:
        yield
    except WrongDomain as error:
        skipped = _active.get()
        if skipped is None or not skipped.others:
            raise WrongDomain(f"{prefix}{error}") from None
        leave_out(RowError(f"{prefix}{error}"))
    except InputError as error:
        kind = RowError if type(error) is InputError else type(error)
        leave_out(kind(f"{prefix}{error}"))


def leave_out(error: InputError) -> None:
    """Put a row's error on the list that is being filled, or raise it."""
    skipped = _active.get()
    if skipped is None:
        raise error from None
    skipped.add(error)


def not_finite(text: str) -> None:
    """What a model said of a row is no number: the row is left out, or the run ends.

    Raises:
        RunError: nobody collects such rows.
    """
    if _active.get() is None:
        raise RunError(text)
    leave_out(RowError(text))
