"""Who may call: hosts, origins, the token, and how large a body may be. Plain ASGI.

A page of another site that a person has open could call a server on 127.0.0.1, or point its own
name at it (DNS rebinding). So a call whose `Origin` or `Sec-Fetch-Site` is another site's is
refused, and without a token so is every `Host` that is not this machine's own name.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

COOKIE = "sfm_token"
LOCAL = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    # 3Dmol.js styles its canvas in place; everything else is a file of ours
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # the first address holds the token
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Doors:
    """ASGI middleware that refuses calls in one line of JSON and adds `HEADERS` to every answer.

    Args:
        app: what is called behind it.
        body: largest body, bytes.
        token: if given, every call has to know it: as `?token=` once (it becomes a cookie), or as
            `Authorization: Bearer`. Without one, only this machine's names are answered.
        public: answer to every name, and let the Hub's pages frame this one: for a Space, which
            has a name of its own. Pages of other sites still call nothing.
    """

    def __init__(
        self, app: Any, *, body: int, token: str | None = None, public: bool = False
    ) -> None:
        self.app, self.body, self.token, self.public = app, body, token, public
        framed = "frame-ancestors 'self' https://huggingface.co"
        policy = HEADERS["content-security-policy"].replace("frame-ancestors 'none'", framed)
        self.headers = {**HEADERS, "content-security-policy": policy} if public else HEADERS

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: C901
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # no websockets here
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        refused = self._refusal(scope, headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        if self.token is not None and self._is_first_visit(scope):
            await self._welcome(scope, send)
            return
        read = 0

        async def bounded() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            # what is behind gives up as if the client had left, and hears no more
            return message if read <= self.body else {"type": "http.disconnect"}

        async def headed(message: Any) -> None:
            if read > self.body:
                return
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in self.headers.items()]
                kept = [(k, v) for k, v in more if k not in given]
                message = {**message, "headers": [*message["headers"], *kept]}
            await send(message)

        try:
            await self.app(scope, bounded, headed)
        except Exception:
            if read <= self.body:
                raise
        if read > self.body:
            await _answer(send, 413, self._too_large())

    def _too_large(self) -> str:
        return f"more than {self.body / 1e6:g} MB in one call; `sfm predict` has no such limit"

    def _refusal(self, scope: Any, headers: Mapping[str, str]) -> tuple[int, str] | None:  # noqa: PLR0911
        host = headers.get("host", "")
        if self.token is None and not self.public and _name_of(host) not in LOCAL:
            return 421, f"this server answers to {', '.join(LOCAL)}, not to '{host[:100]}'"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "a page of another site may not call this server"
        # a link from elsewhere may open the page, nothing elsewhere may call what is behind it
        site = headers.get("sec-fetch-site", "none")
        if scope["path"].startswith("/api/") and site not in ("none", "same-origin"):
            return 403, "a page of another site may not call this server"
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return 400, "content-length is no number"
        if int(length) > self.body:
            return 413, self._too_large()
        if self.token is not None and not self._knows(scope, headers):
            return 401, "the token is missing or wrong: open the address that `sfm serve` printed"
        return None

    def _knows(self, scope: Any, headers: Mapping[str, str]) -> bool:
        cookie: SimpleCookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except CookieError:
            cookie.clear()
        said = [headers.get("authorization", "").removeprefix("Bearer ")]
        said += [cookie[COOKIE].value] if COOKIE in cookie else []
        said += parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        token = str(self.token).encode()
        return any(hmac.compare_digest(one.encode(), token) for one in said)

    def _is_first_visit(self, scope: Any) -> bool:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return scope["method"] == "GET" and "token" in query

    async def _welcome(self, scope: Any, send: Any) -> None:
        """Put the token into a cookie and out of the address."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        rest = urlencode({k: v for k, v in query.items() if k != "token"}, doseq=True)
        place = "/" + scope["path"].lstrip("/\\") + (f"?{rest}" if rest else "")
        cookie = f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        await _answer(send, 303, "", {"location": place, "set-cookie": cookie})


def _name_of(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


async def _answer(
    send: Any, status: int, text: str, headers: Mapping[str, str] | None = None
) -> None:
    body = json.dumps({"error": text}).encode() if text else b""
    named = {**HEADERS, "content-type": "application/json", **(headers or {})}
    named["content-length"] = str(len(body))
    lines = [(k.encode(), v.encode("latin-1")) for k, v in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
