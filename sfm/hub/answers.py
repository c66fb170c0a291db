"""Answers that never end, or drip, are cut: at the size that they may have, or after their time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sfm.hub.errors import HubUnavailable

LARGEST = 64_000_000  # bytes of an answer that is no file
PATIENCE = 120.0  # seconds for it
SLOWEST = 1_000.0  # bytes per second of a file


@dataclass(frozen=True)
class _Bound:
    bytes: int
    seconds: float
    what: str


_bound: ContextVar[_Bound | None] = ContextVar("bound of an answer", default=None)


@contextmanager
def bounded(
    largest: int = LARGEST, seconds: float = PATIENCE, what: str = "an answer"
) -> Iterator[None]:
    """Inside the block and this thread, what the Hub's client reads is no longer than `largest`.

    Args:
        largest: bytes.
        seconds: that it may take.
        what: named in the message.

    Raises:
        HubUnavailable: in the block, an answer that goes on beyond it, or takes too long.
    """
    from huggingface_hub.utils import get_session

    hooks = get_session().event_hooks["response"]
    if _cut not in hooks:
        hooks.append(_cut)
    token = _bound.set(_Bound(largest, seconds, what))
    try:
        yield
    finally:
        _bound.reset(token)


def _cut(response: Any) -> None:
    """Of a response whose body was not read yet: bound its stream. Other users' are left alone."""
    current = _bound.get()
    if current is None:
        return
    bound: _Bound = current  # what the class below closes over
    library: Any = sys.modules[type(response).__module__.partition(".")[0]]  # the client's own
    stream = response.stream

    class Bounded(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            left, began = bound.bytes, time.monotonic()
            for chunk in stream:
                left -= len(chunk)
                if left < 0:
                    raise HubUnavailable(
                        f"{bound.what} from {response.url.host} goes on beyond the "
                        f"{bound.bytes} bytes that it may have; it was cut"
                    )
                if time.monotonic() - began > bound.seconds:
                    raise HubUnavailable(
                        f"{bound.what} from {response.url.host} was not complete after "
                        f"{bound.seconds:.0f} s; it was cut: try again later"
                    )
                yield chunk

        def close(self) -> None:
            stream.close()

    response.stream = Bounded()
