"""Progress of long work: said by whoever does it, shown by whoever listens; else free and silent.

    with listening(print):
        for done, atom in enumerate(atoms):
            report("response to atom", done, len(atoms))

The command line listens and writes to stderr (`sfm.cli.progress`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a piece of work has come.

    Attributes:
        work: what is being done and counted, `dft/kohn-sham: cycle`.
        done: how many are done.
        total: steps in all; None where nobody knows.
        note: one more thing worth seeing, `residual 1e-4 hartree`.
    """

    work: str
    done: int
    total: int | None = None
    note: str = ""


Listener = Callable[[Progress], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def report(work: str, done: int, total: int | None = None, note: str = "") -> None:
    """Say how far `work` has come to the listener, if there is one; see `Progress`."""
    listener = _listener.get()
    if listener is not None:
        listener(Progress(work, done, total, note))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called with each `Progress` of the work inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
