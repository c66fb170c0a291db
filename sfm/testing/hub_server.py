"""A Hub on this machine, for tests, demonstrations and offline trials.

It speaks the protocol of huggingface.co to the unmodified `huggingface_hub` client: repositories
of models and datasets, commits (NDJSON, pull requests, `parentCommit`), Git LFS (basic and
multipart), branches and tags, downloads with ETag, X-Repo-Commit, redirects to a storage host and
ranges, private and gated repositories, listing by tag, author and text, and the error headers.

    with HubServer() as hub:
        env = hub.environment(home=folder)          # for a subprocess: HF_ENDPOINT, HF_TOKEN, ...
        subprocess.run([sys.executable, "-m", "sfm", "push", "sfm-tiny", "tester/tiny"], env=env)

or, as a process of its own (the first line it prints is its address):

    python -m sfm.testing.hub_server --port 0 --root /tmp/hub

`HF_ENDPOINT` and `HF_HUB_DISABLE_XET=1` must be set before `huggingface_hub` is imported: the
client reads them once, and the Xet storage protocol is not spoken here.

What it is not: a service. It listens on 127.0.0.1 only, has no TLS, no limits and no accounts
beyond a table of tokens, and keeps everything in memory. Never expose it to a network.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sfm.testing.hub_api import Call, Reply, User
from sfm.testing.hub_routes import HubRoutes
from sfm.testing.hub_store import HubStore


def client_environment(url: str, token: str, home: str | Path) -> dict[str, str]:
    """The variables that make a process a client of the Hub at `url`, with caches under `home`.

    They have to be set before `huggingface_hub` is imported, and override what a user may have set.
    """
    direct = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return {
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(Path(home) / "hub"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


@dataclass(frozen=True)
class LoggedRequest:
    """One request that was answered. `route` is the name of the protocol call."""

    method: str
    path: str
    route: str
    status: int
    headers: dict[str, str]


@dataclass
class Fault:
    """Answer the next `times` requests whose path contains `path` with `status`."""

    path: str
    status: int
    times: int


class HubServer:
    """A running Hub. Use as a context manager, or `start()` and `stop()`.

    Args:
        port: 0 takes a free one.
        root: folder to keep repositories in between runs; None keeps them in memory.
        user: name of the account behind `token`.
        token: bearer token with write access to the namespace `user`.
        multipart_above: LFS files larger than this many bytes are uploaded in parts of this size.

    Attributes:
        url: `http://127.0.0.1:<port>`, the value for HF_ENDPOINT.
        token: the token of `user`.
        requests: every request so far, oldest first.
        stranger: asked first for every call; what it returns is sent in place of the Hub's answer.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        root: str | Path | None = None,
        user: str = "tester",
        token: str = "hf_local_tester",
        multipart_above: int | None = None,
    ) -> None:
        folder = Path(root) if root is not None else None
        self.store = HubStore(folder)
        self._http = _Listener(("127.0.0.1", port), _Connection)
        self._http.hub = self
        number = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{number}"
        self.api = HubRoutes(
            self.store,
            url=self.url,
            storage_url=f"http://localhost:{number}",
            multipart_above=multipart_above,
        )
        self.user, self.token = user, token
        self.requests: list[LoggedRequest] = []
        self.faults: list[Fault] = []
        self.stranger: Callable[[Call], Reply | None] | None = None
        self.verbose = False
        self._thread: threading.Thread | None = None
        self.add_user(user, token)

    # -- life -------------------------------------------------------------------------------
    def start(self) -> HubServer:
        """Serve in a background thread."""
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and close every connection."""
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.close_all()

    def __enter__(self) -> HubServer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def environment(self, home: str | Path) -> dict[str, str]:
        """The environment of a client process: this endpoint and token, caches under `home`."""
        return {**os.environ, **client_environment(self.url, self.token, home)}

    # -- accounts, gates, faults ------------------------------------------------------------
    def add_user(
        self, name: str, token: str, *, organisations: tuple[str, ...] = (), role: str = "write"
    ) -> None:
        """Accept `token` for `name`; role "read" may not write anywhere."""
        self.api.tokens[token] = User(name, role, organisations)

    def gate(self, repo_id: str, *, kind: str = "model", allowed: tuple[str, ...] = ()) -> None:
        """Restrict downloads of a repository to its owner and the users `allowed`."""
        repo = self.store.repositories[kind, repo_id]
        repo.gated, repo.allowed = True, set(allowed)
        self.store.save()

    def fail(self, path: str, *, status: int = 503, times: int = 1) -> None:
        """Answer the next `times` requests whose path contains `path` with `status`."""
        self.faults.append(Fault(path, status, times))

    def damage(
        self, repo_id: str, path: str, *, truncate: bool = False, kind: str = "model"
    ) -> None:
        """From now on send a file of `main` with one flipped bit, or with its last byte missing."""
        key = self.store.repositories[kind, repo_id].commit("main").files[path].key
        data = bytearray(self.store.blobs[key])
        if truncate:
            del data[-1]
        else:
            data[-1] ^= 1
        self.api.damaged[key] = bytes(data)

    # -- the log ----------------------------------------------------------------------------
    def routes(self) -> list[str]:
        """Names of the protocol calls so far, oldest first."""
        return [request.route for request in self.requests]

    def answer(self, call: Call) -> Reply:
        """Reply to one call, with injected faults, and log it."""
        if self.stranger is not None and (strange := self.stranger(call)) is not None:
            return strange
        for fault in self.faults:
            if fault.times > 0 and fault.path in call.path:
                fault.times -= 1
                name, reply = "fault", Reply.json({"error": "injected fault"}, fault.status)
                break
        else:
            name, reply = self.api.answer(call)
        self.requests.append(
            LoggedRequest(call.method, call.path, name, reply.status, dict(call.headers))
        )
        if self.verbose:
            print(f"{reply.status} {call.method} {call.path} [{name}]", file=sys.stderr, flush=True)
        return reply


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    hub: HubServer

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def close_all(self) -> None:
        """Close the listening socket and what keep-alive clients left open."""
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def _serve(self) -> None:
        url = urlsplit(self.path)
        call = Call(
            method=self.command,
            path=url.path,
            query=parse_qs(url.query),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
        )
        try:
            reply = self.server.hub.answer(call)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reply = Reply.json({"error": f"bad request: {error!r}"}, 400)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value.encode("ascii", "replace").decode())
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if reply.delay:
            self.wfile.flush()
            time.sleep(reply.delay)
        if self.command != "HEAD":
            self.wfile.write(reply.body[: reply.cut])
        if reply.cut is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _body(self) -> bytes:
        """The whole body: with a length, or chunked. An unread body would spoil the connection."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main(argv: list[str] | None = None) -> int:
    """`python -m sfm.testing.hub_server`: serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m sfm.testing.hub_server",
        description="A local Hub for tests and trials. Listens on 127.0.0.1 only.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes a free port")
    parser.add_argument("--root", type=Path, help="keep repositories in this folder")
    parser.add_argument("--user", default="tester", help="account name and namespace")
    parser.add_argument("--token", default="hf_local_tester", help="its token")
    parser.add_argument("--verbose", action="store_true", help="log requests to stderr")
    options = parser.parse_args(argv)
    hub = HubServer(port=options.port, root=options.root, user=options.user, token=options.token)
    hub.verbose = options.verbose
    with hub:
        print(hub.url, flush=True)
        print(f"export HF_ENDPOINT={hub.url} HF_TOKEN={hub.token} HF_HUB_DISABLE_XET=1", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
