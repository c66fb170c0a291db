"""What the Hub's client is never to believe of a server: names that lead elsewhere, endless waits.

huggingface_hub makes paths in its cache of the ETag and the commit id that a server sends, waits
without end for an answer, and as long as a server tells it to before it tries again. `install` puts
checks around its HTTP client; they refuse only what no Hub sends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sfm.errors import HubError
from sfm.hub.errors import HubUnavailable

_PLAIN = re.compile(r"[A-Za-z0-9_=+-]{1,128}")
LONGEST_WAIT = 30  # seconds that a server may ask us to wait before the next try


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
        client.event_hooks["response"].append(_check)
        return client

    guarded.guarded = True  # type: ignore[attr-defined]
    set_client_factory(guarded)


def _limit(request: Any) -> None:
    """A time limit where the client set none: short for what is read, long for what is written."""
    from huggingface_hub import constants

    reading = request.method in ("GET", "HEAD")
    limit = constants.HF_HUB_DOWNLOAD_TIMEOUT if reading else 600
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
