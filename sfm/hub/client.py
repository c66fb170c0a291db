"""The Hub's client within limits: sizes, times and names that a server sends, and its remarks.

huggingface_hub makes paths in its cache of the ETag and the commit id that a server sends, waits
without end for an answer, as long as a server tells it to before it tries again, and reads as much
as comes. Here is the one place that bounds it: `conversation` holds every word with a Hub, and
`bounded_file` one file of it. What is refused is only what no Hub sends.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sfm.errors import HubError
from sfm.hub.errors import HubUnavailable, hub_errors

LARGEST = 64_000_000  # bytes of an answer that is no file
SMALLEST = 100_000  # bytes that any answer may have: an error has a body of its own
PATIENCE = 120.0  # seconds for the body of an answer
SLOWEST = 1_000.0  # bytes per second of a file, beyond that
LONGEST_WAIT = 30  # seconds that a server may ask us to wait before the next try
LONGEST_UPLOAD = 600  # seconds for one step of what is written
_PLAIN = re.compile(r"[A-Za-z0-9_=+-]{1,128}")


@contextmanager
def conversation(
    repo_id: str,
    *,
    revision: str | None = None,
    action: str = "read",
    place: str | os.PathLike[str] = "",
) -> Iterator[None]:
    """Inside the block the Hub's client is bounded and quiet, and fails in one line.

    Args:
        repo_id, revision, action, place: as in `sfm.hub.errors.hub_errors`.

    Raises:
        HubError, InputError, RunError: as `hub_errors`.
    """
    with hub_errors(repo_id, revision=revision, action=action, place=place), quiet(), bounded():
        yield


@dataclass(frozen=True)
class _Bound:
    bytes: int
    seconds: float
    what: str


_bound: ContextVar[_Bound | None] = ContextVar("bound of an answer", default=None)


@contextmanager
def bounded(
    largest: int | None = None, seconds: float | None = None, what: str = "an answer"
) -> Iterator[None]:
    """Inside the block and this thread, what the Hub's client reads is no longer than `largest`.

    Args:
        largest: bytes; `LARGEST` if None.
        seconds: that it may take; `PATIENCE` if None.
        what: named in the message.

    Raises:
        HubUnavailable: in the block, an answer that goes on beyond it, or takes too long.
    """
    install()
    size = LARGEST if largest is None else largest
    token = _bound.set(_Bound(size, PATIENCE if seconds is None else seconds, what))
    try:
        yield
    finally:
        _bound.reset(token)


@contextmanager
def bounded_file(path: str, size: int) -> Iterator[None]:
    """`bounded`, for a file of `size` bytes as the Hub's listing states it."""
    largest = max(size, SMALLEST)
    with bounded(largest, PATIENCE + largest / SLOWEST, path):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the client's own remarks off stderr: what matters comes back as one `HubError`.

    The client sets its logger up when it is first imported, so it is imported before that. It also
    makes its HTTP library warn about an argument of its own (`data=`), which is none of our user's
    business.
    """
    from huggingface_hub.utils import logging as client_logging

    logger = logging.getLogger(client_logging.__name__.partition(".")[0])
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module=r"huggingface_hub\.")
            yield
    finally:
        logger.setLevel(level)


def install() -> None:
    """Check every answer that huggingface_hub gets from now on."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    factory: Callable[[], Any] = _http._GLOBAL_CLIENT_FACTORY
    if getattr(factory, "guarded", False):
        return

    def guarded() -> Any:
        client = factory()
        client.event_hooks["request"].append(_limit)
        client.event_hooks["response"] += [_check, _cut]
        return client

    guarded.guarded = True  # type: ignore[attr-defined]
    set_client_factory(guarded)


def _limit(request: Any) -> None:
    """A time limit where the client set none: short for what is read, long for what is written."""
    from huggingface_hub import constants

    reading = request.method in ("GET", "HEAD")
    limit = constants.HF_HUB_DOWNLOAD_TIMEOUT if reading else LONGEST_UPLOAD
    given = request.extensions.get("timeout") or {}
    request.extensions["timeout"] = {
        key: limit if given.get(key) is None else given[key]
        for key in ("connect", "read", "write", "pool")
    }


def _check(response: Any) -> None:
    names = {key: response.headers.get(key) for key in ("etag", "x-linked-etag", "x-repo-commit")}
    if "/resolve/" in response.request.url.path:
        for key, value in names.items():
            text = (value or "x").removeprefix("W/").strip('"')
            if not _PLAIN.fullmatch(text):
                raise HubError(
                    f"{response.request.url.host} names a file {text[:80]!r} in its header "
                    f"'{key}', which is no plain name: do not use this repository"
                )
    wait = response.headers.get("retry-after", "")
    limited = re.search(r"r=0;t=(\d+)", response.headers.get("ratelimit", ""))
    asked = limited[1] if limited else wait
    if response.status_code >= 400 and asked.isdigit() and int(asked[:9]) > LONGEST_WAIT:
        status = response.status_code
        raise HubUnavailable(f"the Hub limits requests ({status}): try again in {asked[:9]} s")


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
